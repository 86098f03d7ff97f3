"""What every metric keeps to (docs/health.md)."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics import MetricWrapperBase

from apps.realtime import metrics

HEALTH = Path(__file__).parents[3] / "docs" / "health.md"
OURS = {name: value for name, value in vars(metrics).items() if name.isupper() and isinstance(value, MetricWrapperBase)}
# Each of these takes a handful of words of the code; `host` those of the settings.
LABELS = {
    "outcome",
    "reason",
    "source",
    "state",
    "confirmed",
    "writer",
    "dialect",
    "result",
    "code",
    "role",
    "host",
    "stage",
}


def shown_as(metric: MetricWrapperBase) -> str:
    """The name that Prometheus reads, with its labels, as docs/health.md writes it."""
    [family] = metric.describe()
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ",".join(metric._labelnames)
    return f"{name}{{{labels}}}" if labels else name


@pytest.mark.parametrize("name", OURS)
def test_labels_are_words_of_this_code(name: str) -> None:
    assert set(OURS[name]._labelnames) <= LABELS


def test_the_docs_have_every_metric_and_no_other() -> None:
    table = re.findall(r"^\| `(realtime_[^`]+)`", HEALTH.read_text(), re.MULTILINE)
    assert sorted(table) == sorted(map(shown_as, OURS.values()))


@pytest.mark.parametrize("reason", ["epoch", "trimmed", "too_many"])
def test_what_may_happen_once_in_a_year_has_its_series_before(reason: str) -> None:
    """Prometheus sees no increase in a series that begins at 1."""
    assert REGISTRY.get_sample_value("realtime_gaps_total", {"reason": reason}) is not None


@pytest.mark.parametrize("gauge", [metric for metric in OURS.values() if isinstance(metric, Gauge)], ids=shown_as)
def test_a_gauge_of_several_processes_is_one(gauge: Gauge) -> None:
    """The default has a label with the process's id."""
    assert gauge._multiprocess_mode in {"livesum", "livemax", "livemin"}
