"""What was measured, as a table for people and as bench/results/latest.json for programs (docs/performance.md)."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from bench.peers.systems import PEERS, SYSTEMS

OURS: Final = "message-flow"
# What a work is about, the first that it has, with its unit.
MAIN: Final = {
    "cpu_us_per_delivery": "µs of the node's CPU per delivery",
    "secs_to_last": "s until the last socket is back",
    "cpu_us_per_connect": "µs of the node's CPU per connect",
    "rss_kib_per_connection": "KiB per connection",
    "call_us": "µs of a call",
    "frames_per_cpu_sec": "frames per second of the load generator's CPU",
}
# And what is told beside it, all medians.
BESIDE: Final = {
    "cpu_us_per_delivery_broker": "broker",
    "cpu_us_per_delivery_database": "database",
    "cpu_us_per_delivery_publisher": "publisher",
    "cpu_us_per_connect_broker": "broker",
    "cpu_us_per_connect_database": "database",
    "cpu_us_per_connect": "node",
    "restart_secs": "restart s",
    "recovered_share": "recovered",
    "connects_per_sec": "connects/s",
    "call_cpu_us": "its CPU",
    "rate_per_sec": "asked/s",
    "deliveries_per_sec": "sent/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "p99.9_ms": "p99.9 ms",
    "rss_kib_per_connection_broker": "broker KiB",
    "idle_cpu_us_per_connection_sec": "idle µs/s",
    "load_busy": "load busy",
    "wrong": "wrong",
}
# The load generator must be able to take twice the load.
LOAD_BUSY_MOST: Final = 0.5
_PACKAGES: Final = (
    *("django", "channels", "daphne", "autobahn", "twisted", "aio-pika", "pika", "pyjwt"),
    *("channels-redis", "redis", "python-socketio", "uvicorn", "uvloop", "websockets", "tornado", "pyzmq"),
)


class Results:
    """The values of every round."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], list[float]] = {}
        self._lost: dict[tuple[str, str], list[float]] = {}

    def add(self, work: str, system: str, values: dict[str, float]) -> None:
        """One round of a work on a system."""
        for metric, value in values.items():
            if metric == "lost":
                self._lost.setdefault((work, system), []).append(value)
            else:
                self._values.setdefault((work, system, metric), []).append(value)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Median and spread of each figure; `lost` is the sum over all rounds."""
        return [
            {
                "work": work,
                "system": system,
                "metric": metric,
                "median": round(statistics.median(values), 3),
                "min": round(min(values), 3),
                "max": round(max(values), 3),
                "lost": int(sum(self._lost.get((work, system), ()))),
            }
            for (work, system, metric), values in self._values.items()
        ]

    def table(self) -> str:
        """One block for each work: the main figure with its spread and its ratio to ours, and what stands beside it."""
        works: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        for row in self.rows:
            works.setdefault(row["work"], {}).setdefault(row["system"], {})[row["metric"]] = row
        return "\n".join(line for work, systems in works.items() for line in _block(work, systems))

    def write(self, path: Path, command: str) -> None:
        """The file for programs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cpus": os.cpu_count(), "kernel": platform.release().split("-")[0], "machine": platform.machine()}
        content = {
            "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            "command": command,
            "machine": machine,
            "python": platform.python_version(),
            "versions": {"ours": _versions(Path(sys.executable)), "peers": _versions(PEERS / "python")},
            "cannot": {system.name: system.cannot for system in SYSTEMS.values() if system.cannot},
            "rows": self.rows,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")


def columns(known: Collection[str]) -> tuple[str, str, dict[str, str]]:
    """The main metric of a work that has these, its unit, and what stands beside it, with titles."""
    main, unit = next((metric, unit) for metric, unit in MAIN.items() if metric in known)
    beside = {metric: title for metric, title in BESIDE.items() if metric in known and metric != main}
    if main != "call_us":
        beside.pop("call_cpu_us", None)
    return main, unit, beside


def _block(work: str, systems: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    known = {metric for found in systems.values() for metric in found}
    main, unit, beside = columns(known)
    ours = systems.get(OURS, {}).get(main, {}).get("median")
    lines = [f"\n{work}: {unit}\n{'':<32}{'median':>10}{'min … max':>22}{'ours':>8}{'lost':>7}"]
    lines[0] += "".join(f"{title:>11}" for title in beside.values())
    for name, found in systems.items():
        row = found[main]
        spread = f"{row['min']:,.1f} … {row['max']:,.1f}"
        ratio = f"{row['median'] / ours:.2f} x" if ours else ""
        line = f"  {name:<30}{row['median']:>10,.1f}{spread:>22}{ratio:>8}{row['lost']:>7}"
        for metric in beside:
            line += f"{found[metric]['median']:>11,.2f}" if metric in found else " " * 11
        if found.get("load_busy", row)["median"] > LOAD_BUSY_MOST and "load_busy" in found:
            line += "  the load generator could not take twice as much"
        lines.append(line)
    return lines


def _versions(python: Path) -> dict[str, str]:
    program = (
        "import json, sys; from importlib.metadata import version, PackageNotFoundError\n"
        "def find(name):\n"
        "    try: return version(name)\n"
        "    except PackageNotFoundError: return None\n"
        "print(json.dumps({name: find(name) for name in sys.argv[1:]}))"
    )
    if not python.exists():
        return {}
    done = subprocess.run([python, "-c", program, *_PACKAGES], capture_output=True, text=True, check=True)  # noqa: S603
    return {name: found for name, found in json.loads(done.stdout).items() if found}
