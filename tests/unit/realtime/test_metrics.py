"""What every metric keeps to (docs/health.md)."""

import pytest
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics import MetricWrapperBase

from apps.realtime import metrics

OURS = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
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


@pytest.mark.parametrize("name", OURS)
def test_labels_are_words_of_this_code(name: str) -> None:
    assert set(OURS[name]._labelnames) <= LABELS


@pytest.mark.parametrize("reason", ["epoch", "trimmed", "too_many"])
def test_what_may_happen_once_in_a_year_has_its_series_before(reason: str) -> None:
    """Prometheus sees no increase in a series that begins at 1."""
    assert REGISTRY.get_sample_value("realtime_gaps_total", {"reason": reason}) is not None


@pytest.mark.parametrize(
    "gauge", [metric for metric in OURS.values() if isinstance(metric, Gauge)], ids=lambda gauge: gauge._name
)
def test_a_gauge_of_several_processes_is_one(gauge: Gauge) -> None:
    """The default has a label with the process's id."""
    assert gauge._multiprocess_mode in {"livesum", "livemax", "livemin"}
