"""The kinds of work (docs/performance.md): each plays on a stage and returns what it measured."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers import meters
from bench.peers.run import TOPICS, WARM_SHARE, Stage, Values, stage
from bench.peers.services import Services
from bench.peers.systems import System

# Before a look at a process's memory.
_IDLE_SECS: Final = 1.0


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        secs: of paced work.
        unicast_rate, broadcast_rate: events a second that every system can hold.
        unicast_count, broadcast_count: events of work that is flat out.
    """

    sockets: int
    secs: float
    unicast_rate: float = 1_000
    broadcast_rate: float = 4
    unicast_count: int = 5_000
    broadcast_count: int = 100


# A line of the table: work, and what was measured.
Found = Iterator[tuple[str, Values]]


def steady(
    system: System, services: Services, folder: Path, size: Size, works: set[str], suffix: str = "", nodes: int = 1
) -> Found:
    """(a), (b), (c), (e), (f): all that one life of the servers can show."""
    with stage(system, services, folder, size.sockets, nodes=nodes) as on:
        found = dict(_connect(on))
        if "connect" in works:
            yield f"connect{suffix}", found["connect"]
        if "memory" in works:
            yield f"memory{suffix}", found["memory"]
        if works & {"unicast", "broadcast", "latency"}:
            on.hello()
        if "unicast" in works:
            count = int(size.secs * size.unicast_rate)
            yield f"unicast paced{suffix}", on.publish("user", on.sockets, 1, count, size.unicast_rate)
        if works & {"unicast", "latency"}:
            flat = on.publish("user", on.sockets, 1, size.unicast_count, 0)
            if "unicast" in works:
                yield f"unicast flat out{suffix}", flat
            if "latency" in works:
                rate = 0.8 * flat["deliveries_per_sec"]
                values = on.publish("user", on.sockets, 1, int(size.secs * rate), rate)
                yield f"unicast at 80 %{suffix}", values | {"rate_per_sec": rate}
        if "broadcast" in works:
            count = max(int(size.secs * size.broadcast_rate), 1)
            yield f"broadcast paced{suffix}", on.publish("all", 1, on.sockets, count, size.broadcast_rate)
            yield f"broadcast flat out{suffix}", on.publish("all", 1, on.sockets, size.broadcast_count, 0)


def _connect(on: Stage) -> Found:
    warm = on.sockets // WARM_SHARE
    on.connect(warm)
    time.sleep(_IDLE_SECS)
    nodes = [node.pid for node in on.running.nodes]
    memory = meters.memory_kib(nodes)
    broker = meters.memory_kib(on.running.meters.get("broker", ()))
    cpu = on.watch()
    secs = on.connect(on.sockets)["secs"]
    # What a server does for a socket after the client has its answer is part of it.
    time.sleep(_IDLE_SECS)
    used = cpu.since()
    count = on.sockets - warm
    yield (
        "connect",
        {
            **{
                "cpu_us_per_connect" + ("" if part == "node" else f"_{part}"): 1e6 * spent / count
                for part, spent in used.items()
            },
            "connects_per_sec": count / secs,
            "lost": 0,
        },
    )
    yield (
        "memory",
        {
            "rss_kib_per_connection": (meters.memory_kib(nodes) - memory) / count,
            "rss_kib_per_connection_broker": (meters.memory_kib(on.running.meters.get("broker", ())) - broker) / count,
            "lost": 0,
        },
    )


def topic(system: System, services: Services, folder: Path, size: Size) -> Found:
    """(d): every socket hears one topic of a hundred, and they are published to in turn."""
    if not system.topics:
        return
    with stage(system, services, folder, size.sockets, topics=TOPICS) as on:
        on.connect(on.sockets)
        on.hello()
        receivers = on.sockets // TOPICS
        rate = size.unicast_rate / 5
        yield "topic paced", on.publish("topic", TOPICS, receivers, int(size.secs * rate), rate)
        yield "topic flat out", on.publish("topic", TOPICS, receivers, size.unicast_count // 5, 0)


STEADY: Final = ("unicast", "broadcast", "connect", "memory", "latency")
OTHERS: Final[dict[str, Callable[[System, Services, Path, Size], Found]]] = {"topic": topic}
