"""What the nodes count of themselves: which deliveries came by the broker, and what they asked the database.

The one thing on the card that is the product's own word (docs/chaos.md).
"""

import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_SECS = 2
_DELIVERIES = "realtime_deliveries_total"
_READS = "realtime_history_reads_total"


class Meters:
    """Sums the counters of nodes whose processes come and go; a process that is killed loses its last moments."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._last: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._total: Counter[str] = Counter()

    def read(self) -> None:
        """Add what was counted since the last time; before a node is killed it should be read."""
        for port in self._ports:
            try:
                now = _scrape(port)
            except (OSError, urllib.error.URLError):
                continue
            for name, value in now.items():
                before = self._last[port][name]
                # A new process counts from 0 again.
                self._total[name] += value - before if value >= before else value
            self._last[port] = now

    def take(self) -> Counter[str]:
        """What was counted since the last `take`: `live`, `history` and `reads`."""
        self.read()
        taken, self._total = self._total, Counter()
        return taken


def _scrape(port: int) -> Counter[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_TIMEOUT_SECS) as answer:
        text = answer.read().decode()
    counted: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _READS:
                counted["reads"] += int(sample.value)
            elif sample.name == _DELIVERIES:
                # What did not come by the broker came from a node's memory or from the database.
                counted["live" if sample.labels["source"] == "live" else "history"] += int(sample.value)
    return counted
