"""One system under one load: connect, publish, count, and what it took (docs/performance.md)."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.peers import meters
from bench.peers.services import Services
from bench.peers.systems import ROOT, Running, System
from bench.peers.talk import Talker
from ops.services import wait_for

# Nothing more is waited for once nothing has come for this time, and the nodes have hardly worked in it: one that has
# much to send may write nothing for seconds.
_QUIET_SECS: Final = 2.0
_IDLE_SHARE: Final = 0.04
_HELLO_SECS: Final = 5.0
_POLL_SECS: Final = 0.05
_CONNECT_SECS: Final = 180.0
# The backlog of a listening socket in Twisted: what comes on top of it is told to try again in a second.
AT_ONCE: Final = 50
TOPICS: Final = 100
# One part of the sockets is there before anything is measured: imports, pools and caches are not a socket's.
WARM_SHARE: Final = 5

Values = dict[str, float]


@dataclass
class Cpu:
    """Seconds that each part has used since `start`."""

    stage: "Stage"
    before: Values

    def since(self) -> Values:
        """By part."""
        now = self.stage.cpu()
        return {part: now[part] - self.before[part] for part in now}


class Stage:
    """A running system, its browsers and its publisher."""

    def __init__(self, running: Running, load: Talker, sockets: int) -> None:
        self.running = running
        self.load = load
        self.sockets = sockets
        self._connected = 0
        self._published = 0

    def cpu(self) -> Values:
        """Seconds used by each part so far."""
        running = self.running
        parts = {"node": [node.pid for node in running.nodes], "publisher": [running.publisher.pid], **running.meters}
        return {part: meters.cpu_secs(pids) for part, pids in parts.items()} | {
            "load": meters.cpu_secs([self.load.pid])
        }

    def watch(self) -> Cpu:
        """Begin to count."""
        return Cpu(self, self.cpu())

    def connect(self, up_to: int, at_once: int = AT_ONCE) -> dict[str, Any]:
        """Sockets for the users up to this one; returns when all are authenticated."""
        answer = self.load.ask(_CONNECT_SECS, do="connect", first=self._connected, last=up_to, at_once=at_once)
        self._connected = up_to
        if answer["failures"]:
            raise RuntimeError(f"sockets were refused: {answer['failures']}")
        return answer

    def hello(self) -> None:
        """Publish until every socket has heard of it: subscriptions may take their time after the answer."""
        self.count_anew()
        for tries in range(1, 11):
            self.running.publisher.ask(do="publish", to="all", of=1, count=1, rate=0)
            self._published += 1
            ends = time.perf_counter() + _HELLO_SECS
            while time.perf_counter() < ends:
                if self.load.ask(do="report")["hellos"] == self.sockets:
                    # What is still on its way is not the next work's.
                    self.arrivals(tries * self.sockets)
                    return
                time.sleep(_POLL_SECS)
        raise TimeoutError("not every socket hears what is published to all")

    def arrivals(self, expected: int) -> dict[str, Any]:
        """What came, when it is all there or nothing more comes."""
        seen = -1
        since, used = time.perf_counter(), self._nodes_cpu()
        while True:
            report = self.load.ask(do="report")
            now = time.perf_counter()
            if report["received"] != seen:
                seen = report["received"]
                since, used = now, self._nodes_cpu()
            elif now - since > _QUIET_SECS:
                before, used = used, self._nodes_cpu()
                if used - before < _IDLE_SHARE * (now - since):
                    return report
                since = now
            if seen >= expected:
                return report
            time.sleep(_POLL_SECS)

    def _nodes_cpu(self) -> float:
        return sum(meters.own_cpu_secs(node.pid) for node in self.running.nodes)

    def publish(self, to: str, of: int, receivers: int, count: int, rate: float, **more: Any) -> Values:
        """Publish, wait until everything is there or nothing more comes; what a delivery took."""
        self.count_anew()
        self._published += count
        cpu = self.watch()
        began = time.time()
        command = {"do": "publish", "to": to, "of": of, "count": count, "rate": rate, **more}
        told = self.running.publisher.ask(600, **command)
        report = self.arrivals(count * receivers)
        used = cpu.since()
        delivered = report["received"]
        secs = max(report["last_at"] - began, 1e-9)
        late = self.load.ask(do="late")
        return {
            "lost": count * receivers - delivered,
            "wrong": report["wrong"],
            **{_per_delivery(part): 1e6 * spent / max(delivered, 1) for part, spent in used.items()},
            "load_busy": used["load"] / secs,
            "deliveries_per_sec": delivered / secs,
            "call_us": told["call_us"],
            "call_cpu_us": told["call_cpu_us"],
            **(late if rate else {}),
        }

    def count_anew(self) -> None:
        """Count what is published from now on."""
        self.load.ask(do="reset", from_number=self._published)

    def miss_one(self) -> None:
        """A durable event for all, of which nobody waits to hear."""
        self.count_anew()
        self._published += 1
        self.running.publisher.ask(do="publish", to="all", of=1, count=1, rate=0, durable=True)

    def restart(self) -> float:
        """Kill the nodes and start them again; seconds until they are ready, all browsers having noticed their end."""
        self.running.kill()
        began = time.perf_counter()
        self.running.start()
        secs = time.perf_counter() - began
        wait_for(lambda: not self.load.ask(do="report")["open"], 60, "every browser has lost its socket")
        self._connected = 0
        return secs


def _per_delivery(part: str) -> str:
    return "cpu_us_per_delivery" + ("" if part == "node" else f"_{part}")


@contextmanager
def stage(
    system: System, services: Services, folder: Path, sockets: int, *, nodes: int = 1, topics: int = 0
) -> Iterator[Stage]:
    """The system started, with no socket yet. Logs stay in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    running = system.start(services, folder, nodes)
    try:
        path = folder / "tokens"
        running.write_tokens(sockets, path)
        command = [sys.executable, "-m", "bench.peers.load", system.dialect, str(path), str(topics)]
        load = Talker([*command, *map(str, running.ports)], folder / "load.log", {"PATH": "/usr/bin:/bin"}, ROOT)
        try:
            yield Stage(running, load, sockets)
        finally:
            load.close()
    finally:
        running.close()
