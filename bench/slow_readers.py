"""What sockets that never read cost a node under a flood: `python -m bench.slow_readers` (docs/limits.md).

Starts a RabbitMQ, a PostgreSQL and one node of its own. The readers authenticate and then take nothing any more, half
of them v1 and half seed. Half of the events are durable. An honest tab beside them says how late events come.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from ops.services import Postgres, RabbitMQ, wait_for
from tests.services.rigs.clients import Tab
from tests.services.rigs.site import PASSWORD, Node, Site
from tests.services.rigs.target import metrics, resident_mib
from tests.services.rigs.wire import Wire, frame, upgrade_headers

# Each event says when it was made; an event of 200 bytes in all.
_FLOOD = """
import time
from apps.realtime import EVERYONE, notify, push
from apps.realtime.publishing.process import publishing_process
began = time.monotonic()
for turn in range(SECS * RATE // 20):
    for number in range(10):
        push(EVERYONE, "bench/PUSH", [time.time(), "x" * 80])
    for number in range(10):
        notify(EVERYONE, "bench/NOTIFY", [time.time(), "x" * 80])
    time.sleep(max(0.0, began + (turn + 1) * 20 / RATE - time.monotonic()))
print(round(SECS * RATE / (time.monotonic() - began)))
assert publishing_process().outbox.flush(30)
"""


def main() -> None:
    """Start everything, flood, and print what it took."""
    parser = argparse.ArgumentParser(prog="bench.slow_readers", description=__doc__)
    parser.add_argument("--readers", type=int, default=200, help="sockets that never read")
    parser.add_argument("--rate", type=int, default=1_000, help="events a second to everybody")
    parser.add_argument("--secs", type=int, default=45, help="of the flood; a window that is full ends after 30")
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
            asyncio.run(_measure(site, site.node(), options.readers, options.rate, options.secs))
        finally:
            if site is not None:
                site.close()
            postgres.stop()
            rabbitmq.close()


def _settings(rabbitmq: RabbitMQ, postgres: Postgres, folder: Path) -> dict[str, str]:
    return {
        "AMQP_URL": rabbitmq.url("bench"),
        "DATABASE_URL": postgres.createdb("bench"),
        "STATIC_ROOT": str(folder / "static"),
        "REALTIME_MAX_SOCKETS_PER_USER": "100000",
        "REALTIME_MAX_SOCKETS_PER_ADDRESS": "100000",
        "REALTIME_CONNECTS_PER_ADDRESS_PER_SEC": "100000",
    }


async def _measure(site: Site, node: Node, readers: int, rate: int, secs: int) -> None:
    person = node.person("alice", PASSWORD)
    honest = await Tab.open(node.websocket, person.token)
    token = person.token()
    wires = await asyncio.gather(*(_stuck(node, token, v1=number % 2 == 0) for number in range(readers)))
    wait_for(lambda: sum(metrics(node, "realtime_sessions").values()) == readers + 1, 30, "all are let in")
    before = peak = resident_mib(node)
    # Of the newest event at each look, with the seconds since the beginning.
    lateness: list[tuple[float, float]] = []
    flood = asyncio.create_task(asyncio.to_thread(_flood, site, rate, secs))
    seen = 0
    open_secs = 0.0
    began = time.monotonic()
    while not flood.done():
        await asyncio.sleep(0.25)
        peak = max(peak, resident_mib(node))
        now = time.time()
        if len(honest.events) > seen:
            lateness.append((now - honest.events[-1]["data"][0], time.monotonic() - began))
        seen = len(honest.events)
        if await asyncio.to_thread(lambda: sum(metrics(node, "realtime_sessions").values())) > 1:
            open_secs = time.monotonic() - began
    reached = await flood
    await honest.wait_until(lambda: honest.seqs("all")[-1:] == [rate * secs // 2], 60, "the last event")
    assert honest.seqs("all") == list(range(1, rate * secs // 2 + 1))
    late = sorted(secs for secs, _ in lateness)
    closed = metrics(node, "realtime_closes_total")
    print(
        json.dumps(
            {
                "readers": readers,
                "events_per_sec": reached,
                "rss_mib_before": round(before, 1),
                "rss_mib_peak": round(peak, 1),
                "rss_mib_per_reader": round((peak - before) / readers, 2),
                "closed_4002": int(closed.get('code="4002"', 0)),
                "last_closed_after_secs": round(open_secs, 1),
                "honest_tab_lateness_median_secs": round(statistics.median(late), 3),
                "honest_tab_lateness_p99_secs": round(late[int(len(late) * 0.99)], 3),
                "honest_tab_lateness_max_secs_and_when": [round(secs, 3) for secs in max(lateness)],
            },
            indent=2,
        )
    )
    for wire in wires:
        wire.close()
    await honest.close()


def _flood(site: Site, rate: int, secs: int) -> int:
    program = _FLOOD.replace("SECS", str(secs)).replace("RATE", str(rate))
    return int(site.manage("shell", "-v0", "-c", program, timeout_secs=secs * 4 + 60))


async def _stuck(node: Node, token: str, *, v1: bool) -> Wire:
    wire = await Wire.open(node.port, upgrade_headers(node.port, v1=v1))
    await wire.text()  # AUTH REQUEST
    await wire.send(frame(token.encode()))
    await wire.text()  # AUTH OK
    wire.stop_reading()
    return wire


if __name__ == "__main__":
    main()
