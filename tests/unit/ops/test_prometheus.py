"""Alert rules, scraping and dashboard ask for metrics that exist, and promtool agrees (docs/health.md)."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from apps.realtime import metrics
from ops.services.binaries import PROMTOOL

ROOT = Path(__file__).parents[3]
RULES = ROOT / "ops" / "prometheus" / "alerts.yml"
PLAYED = Path(__file__).with_name("alerts_test.yml")
DASHBOARD = ROOT / "ops" / "grafana" / "dashboard.json"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
# Read off RabbitMQ 3.10's own exporter; 4.3's has them, too.
RABBITMQS = {
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_queue_messages_ready",
}
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}

ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


def ours() -> dict[str, set[str]]:
    """Each name that Prometheus may ask for, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            labels = set(metric._labelnames) | ({"le"} if family.type == "histogram" else set())
            found |= {family.name + suffix: labels for suffix in SUFFIXES[family.type]}
    return found


def queries() -> Iterator[str]:
    """What the dashboard asks."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([PROMTOOL.path(), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_rules_and_scraping() -> None:
    promtool("check", "config", RULES.with_name("prometheus.yml"))


def test_each_rule_keeps_quiet_on_a_good_day_and_fires_on_its_own() -> None:
    promtool("test", "rules", PLAYED)
    played = PLAYED.read_text()
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", played)
    assert set(fired) == set(ALERTS)
    quiet = played[: played.index("- name: a node is gone")]
    asked = names_in(re.sub(r"#.*", "", RULES.read_text())) - {"realtime_delivery_seconds_bucket"}
    assert asked - names_in(quiet) == set()


def test_each_rule_has_its_runbook_and_each_runbook_its_rule() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sections == ALERTS
    links = re.findall(r"^ +runbook: docs/runbooks\.md#(\w+)$", RULES.read_text(), re.MULTILINE)
    assert links == [name.lower() for name in ALERTS]


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:realtime|rabbitmq|process)_\w+", text))


@pytest.mark.parametrize(
    "expressions", [[re.sub(r"#.*", "", RULES.read_text())], list(queries())], ids=["rules", "board"]
)
def test_every_metric_and_label_that_is_asked_for_exists(expressions: list[str]) -> None:
    known = ours()
    # Those of prometheus_client itself.
    processes = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    for text in expressions:
        assert names_in(text) - known.keys() - RABBITMQS - processes == set()
        for name, matchers in re.findall(r"\b(realtime_\w+)\{([^}]*)\}", text):
            assert set(re.findall(r'(\w+)(?:=|!=|=~|!~)"', matchers)) <= known[name], text


def test_the_dashboard_can_be_imported_and_promtool_reads_its_queries(tmp_path: Path) -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    rules = [
        {"record": f"panel:{n}", "expr": expr.replace("$__rate_interval", "1m")} for n, expr in enumerate(queries())
    ]
    # YAML is a superset of JSON.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")
