"""What sockets that never read cost a node and its other sockets: `python -m bench.slow_readers` (docs/limits.md).

Starts a RabbitMQ and a PostgreSQL of its own and measures twice, with a new node each: a tab beside so many sockets
that read, as the control, and beside as many that sign in and then take nothing any more. Half of them are v1, half
seed; half of the events are durable. The others are a process of their own: their reading delays no measurement.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from ops.services import Postgres, RabbitMQ
from tests.services.rigs.site import PASSWORD, Site
from tests.services.rigs.target import metrics, resident_mib
from tests.services.rigs.wire import Wire, frame, upgrade_headers

# Each event says when it was made; an event of 200 bytes in all.
_FLOOD = """
import time
from apps.realtime import EVERYONE, notify, push
from apps.realtime.publishing.process import publishing_process
began = time.monotonic()
for turn in range(SECS * RATE // 2):
    push(EVERYONE, "bench/PUSH", [time.time(), "x" * 80])
    notify(EVERYONE, "bench/NOTIFY", [time.time(), "x" * 80])
    time.sleep(max(0.0, began + (turn + 1) * 2 / RATE - time.monotonic()))
print(round(SECS * RATE / (time.monotonic() - began)))
assert publishing_process().outbox.flush(30)
"""
_CONNECTED_SECS = 60
_SETTLED_SECS = 60
_PATIENCE_SECS = 120
_ACK_EVENTS = 64
_HEARTBEAT = "<3"


def main() -> None:
    """Start everything, measure both, and print what it took."""
    parser = argparse.ArgumentParser(prog="bench.slow_readers", description=__doc__)
    parser.add_argument("--readers", type=int, default=200, help="sockets beside the tab")
    parser.add_argument("--rate", type=int, default=50, help="events a second to everybody, as far as they can be made")
    parser.add_argument("--secs", type=int, default=45, help="of the events; a window that is full ends after 30")
    parser.add_argument("--stuck-only", action="store_true", help="no control: for more than a node can write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-readers-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        rabbitmq, postgres = RabbitMQ(folder / "rabbitmq"), Postgres(folder / "postgres")
        for service in (rabbitmq, postgres):
            service.prepare()
            service.start()
        site = None
        try:
            rabbitmq.wait_ready()
            postgres.wait_ready()
            rabbitmq.add_vhost("bench")
            site = Site(folder, _settings(rabbitmq, postgres, folder))
            site.manage("migrate", "--no-input", "--verbosity=0")
            site.manage("collectstatic", "--no-input", "--verbosity=0")
            site.manage("demo_users")
            measure = [options.readers, options.rate, options.secs]
            result: dict[str, Any] = {}
            if not options.stuck_only:
                result["beside_readers"] = asyncio.run(_measure(site, *measure, reading=True))
            result["beside_stuck"] = asyncio.run(_measure(site, *measure, reading=False))
        finally:
            if site is not None:
                site.close()
            postgres.stop()
            rabbitmq.close()
    if not options.stuck_only:
        control, stuck = (result[name]["lateness_p99_ms"] for name in ("beside_readers", "beside_stuck"))
        result["p99_ratio"] = round(stuck / control, 2)
    print(json.dumps(result, indent=2))


def _settings(rabbitmq: RabbitMQ, postgres: Postgres, folder: Path) -> dict[str, str]:
    return {
        "AMQP_URL": rabbitmq.url("bench"),
        "DATABASE_URL": postgres.createdb("bench"),
        "STATIC_ROOT": str(folder / "static"),
        "REALTIME_MAX_SOCKETS_PER_USER": "100000",
        "REALTIME_MAX_SOCKETS_PER_ADDRESS": "100000",
        "REALTIME_CONNECTS_PER_ADDRESS_PER_SEC": "100000",
    }


async def _measure(site: Site, count: int, rate: int, secs: int, *, reading: bool) -> dict[str, Any]:
    node = await asyncio.to_thread(site.node)
    token = (await asyncio.to_thread(node.person, "alice", PASSWORD)).token()
    spawn = multiprocessing.get_context("spawn")
    connected, over = spawn.Event(), spawn.Event()
    others = spawn.Process(target=_sit, args=(node.port, token, count, reading, connected, over))
    others.start()
    tab = _Reader(await _signed_in(node.port, token, v1=True), v1=True)
    task = asyncio.create_task(tab.read())
    durable = secs * rate // 2
    try:
        assert await asyncio.to_thread(connected.wait, _CONNECTED_SECS), "the others did not connect"
        before = peak = await asyncio.to_thread(resident_mib, node)
        began, last_open = time.monotonic(), 0.0
        flood = asyncio.create_task(asyncio.to_thread(_flood, site, rate, secs))
        while not flood.done():
            await asyncio.sleep(0.25)
            peak = max(peak, resident_mib(node))
            if await asyncio.to_thread(lambda: sum(metrics(node, "realtime_sessions").values())) > 1:
                last_open = time.monotonic() - began
        reached = await flood
        async with asyncio.timeout(_SETTLED_SECS):
            while len(tab.seqs) < durable:
                await asyncio.sleep(0.1)
        closed = int((await asyncio.to_thread(metrics, node, "realtime_closes_total")).get('code="4002"', 0))
    finally:
        over.set()
        await asyncio.to_thread(others.join)
        task.cancel()
        node.kill9()
    assert others.exitcode == 0, "the others failed"
    # Once and in order.
    assert tab.seqs == list(range(tab.seqs[0], tab.seqs[0] + durable))
    late = sorted(tab.lateness)
    return {
        "sockets": count,
        "events_per_sec": reached,
        "lateness_median_ms": round(1000 * statistics.median(late), 1),
        "lateness_p99_ms": round(1000 * late[int(len(late) * 0.99)], 1),
        "lateness_max_ms": round(1000 * late[-1], 1),
        "rss_mib_before": round(before, 1),
        "rss_mib_per_socket": round((peak - before) / count, 2),
        "closed_4002": closed,
        "last_one_open_secs": round(last_open, 1),
    }


def _flood(site: Site, rate: int, secs: int) -> int:
    program = _FLOOD.replace("SECS", str(secs)).replace("RATE", str(rate))
    return int(site.manage("shell", "-v0", "-c", program, timeout_secs=secs * 4 + 60))


class _Reader:
    """Reads, echoes and acknowledges as a page does.

    Attributes:
        lateness: of each event, in seconds from the call that made it.
        seqs: of the durable ones.
    """

    def __init__(self, wire: Wire, *, v1: bool) -> None:
        self.lateness: list[float] = []
        self.seqs: list[int] = []
        self._wire = wire
        self._v1 = v1

    async def read(self) -> None:
        """Until it is cancelled, or the node ends the socket."""
        while True:
            text = await self._wire.text(_PATIENCE_SECS)
            if text == _HEARTBEAT:
                if self._v1:
                    await self._wire.send(frame(text.encode()))
                continue
            event = json.loads(text)
            self.lateness.append(time.time() - event["data"][0])
            if "seq" in event:
                self.seqs.append(event["seq"])
            if self._v1 and len(self.lateness) % _ACK_EVENTS == 0:
                await self._wire.send(frame(json.dumps({"id": "ACK", "data": {"n": len(self.lateness)}}).encode()))


def _sit(port: int, token: str, count: int, reading: bool, connected: Event, over: Event) -> None:
    """The process of the others."""
    asyncio.run(_sit_beside(port, token, count, reading, connected, over))


async def _sit_beside(port: int, token: str, count: int, reading: bool, connected: Event, over: Event) -> None:
    dialects = [number % 2 == 0 for number in range(count)]
    wires = await asyncio.gather(*(_signed_in(port, token, v1=v1) for v1 in dialects))
    if reading:
        readers = [_Reader(wire, v1=v1) for wire, v1 in zip(wires, dialects, strict=True)]
        tasks = [asyncio.create_task(reader.read()) for reader in readers]
    else:
        tasks = []
        for wire in wires:
            wire.stop_reading()
    connected.set()
    await asyncio.to_thread(over.wait)
    # A control that lost its readers would be none.
    assert not [task for task in tasks if task.done()], "a socket that reads was closed"
    for task in tasks:
        task.cancel()
    for wire in wires:
        wire.close()


async def _signed_in(port: int, token: str, *, v1: bool) -> Wire:
    wire = await Wire.open(port, upgrade_headers(port, v1=v1))
    await wire.text()  # AUTH REQUEST
    await wire.send(frame(token.encode()))
    await wire.text()  # AUTH OK
    return wire


if __name__ == "__main__":
    main()
