"""The kinds of work (docs/performance.md): each plays on a stage and returns what it measured."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
    """How much is done: paced work at what every system can hold, `secs` long; flat out so many events."""

    sockets: int
    secs: float
    unicast_rate: float = 1_000
    durable_rate: float = 200
    unicast_count: int = 5_000
    publish_count: int = 500
    storm_sockets: int = 5_000
    growth: tuple[int, ...] = (100, 2_000, 10_000)
    nodes: tuple[int, ...] = (2, 4)

    @property
    def broadcast_rate(self) -> float:
        """2,000 deliveries a second, whatever the number of sockets."""
        return 2_000 / self.sockets

    @property
    def broadcast_count(self) -> int:
        """50,000 deliveries, within what a socket may have unacknowledged."""
        return min(max(50_000 // self.sockets, 5), 200)


# A line of the table: work, and what was measured.
Found = Iterator[tuple[str, Values]]


def steady(
    system: System, services: Services, folder: Path, size: Size, works: set[str], suffix: str = "", nodes: int = 1
) -> Found:
    """(a), (b), (c), (e), (f): all that one life of the servers can show."""
    with stage(system, services, folder, size.sockets, nodes=nodes) as on:
        found = dict(_connect(on, size.secs))
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
            count = max(int(size.secs * size.broadcast_rate), 2)
            yield f"broadcast paced{suffix}", on.publish("all", 1, on.sockets, count, size.broadcast_rate)
            yield f"broadcast flat out{suffix}", on.publish("all", 1, on.sockets, size.broadcast_count, 0)


def _connect(on: Stage, secs_idle: float) -> Found:
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
            **{f"cpu_us_per_connect{_suffix(part)}": 1e6 * spent / count for part, spent in used.items()},
            "connects_per_sec": count / secs,
            "lost": 0,
        },
    )
    cpu = on.watch()
    began = time.perf_counter()
    time.sleep(secs_idle)
    idle = cpu.since()["node"] / (time.perf_counter() - began)
    yield (
        "memory",
        {
            "rss_kib_per_connection": (meters.memory_kib(nodes) - memory) / count,
            "rss_kib_per_connection_broker": (meters.memory_kib(on.running.meters.get("broker", ())) - broker) / count,
            "idle_cpu_us_per_connection_sec": 1e6 * idle / on.sockets,
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


def durable(system: System, services: Services, folder: Path, size: Size) -> Found:
    """(h): `notify`, from the rows to sockets that acknowledge and move their cursors; and `push` at the same pace."""
    if not system.durable:
        return
    with stage(system, services, folder, size.sockets) as on:
        on.connect(on.sockets)
        on.hello()
        count = int(size.secs * size.durable_rate)
        for kind in (False, True):
            name = "durable" if kind else "ephemeral"
            values = on.publish("user", on.sockets, 1, count, size.durable_rate, durable=kind)
            yield f"unicast {name}, {size.durable_rate:g}/s", values
        for together in (1, 100):
            values = on.publish("user", on.sockets, 1, size.unicast_count, 0, durable=True, together=together)
            yield f"unicast durable flat out, {together} a transaction", values
        values = on.publish("user", on.sockets, 1, size.unicast_count, 0, durable=True, many=100)
        yield "unicast durable flat out, 100 users a call", values
        values = on.publish("all", 1, on.sockets, size.broadcast_count, 0, durable=True)
        yield "broadcast durable flat out", values


def publish(system: System, services: Services, folder: Path, size: Size) -> Found:
    """(g): what a call costs whoever makes it, at a pace that leaves nothing waiting."""
    sockets = 20
    with stage(system, services, folder, sockets) as on:
        on.connect(sockets)
        on.hello()
        values = on.publish("user", sockets, 1, size.publish_count, 250)
        yield "publish", {key: values[key] for key in ("call_us", "call_cpu_us", "lost")}
        if system.durable:
            cost = on.running.publisher.ask(do="cost", count=size.publish_count)
            yield "publish, bare INSERT", {"call_us": cost["insert_us"], "lost": 0}
            yield "publish durable", {"call_us": cost["notify_us"], "lost": 0}


def storm(system: System, services: Services, folder: Path, size: Size) -> Found:
    """(i): the node is killed and starts again, and every socket comes back, with its cursors where it has any."""
    sockets = size.storm_sockets
    with stage(system, services, folder, sockets) as on:
        on.connect(sockets)
        on.hello()
        if system.durable:
            on.publish("all", 1, sockets, 1, 0, durable=True)
        on.running.kill()
        if system.durable:
            # What everybody has missed.
            on.miss_one()
        ready = on.restart()
        cpu = on.watch()
        answer = on.connect(sockets)
        missed = sockets if system.durable else 0
        came = on.arrivals(missed)["received"] if missed else 0
        used = cpu.since()
        values = {
            "secs_to_last": answer["secs"],
            "restart_secs": ready,
            "lost": missed - came,
            **{f"cpu_us_per_connect{_suffix(part)}": 1e6 * spent / sockets for part, spent in used.items()},
        }
        if system.durable:
            values["recovered_share"] = answer["states"].get("recovered", 0) / sum(answer["states"].values())
        yield f"storm of {sockets:,}", values


def growth(system: System, services: Services, folder: Path, size: Size) -> Found:
    """(j): the same with fewer and with more sockets; ours with more nodes, too."""
    works = {"connect", "memory", "unicast", "broadcast"}
    for sockets in size.growth:
        more = replace(size, sockets=sockets)
        yield from steady(system, services, folder, more, works, f", {sockets:,} sockets")
    for nodes in size.nodes if system.durable else ():
        yield from steady(system, services, folder, size, works, f", {nodes} nodes", nodes)


def capacity(system: System, services: Services, folder: Path, size: Size) -> Found:
    """What the load generator itself can take: as many frames as the bare loop sends, or one at a time."""
    if system.name != "floor-send":
        return
    with stage(system, services, folder, size.sockets) as on:
        on.connect(on.sockets)
        on.hello()
        for work, to, of, receivers, count in (
            ("broadcast", "all", 1, on.sockets, 10 * size.broadcast_count),
            ("unicast", "user", on.sockets, 1, 10 * size.unicast_count),
        ):
            values = on.publish(to, of, receivers, count, 0)
            rate = 1e6 / values["cpu_us_per_delivery_load"]
            kept = {key: values[key] for key in ("deliveries_per_sec", "load_busy", "lost")}
            yield f"load generator, {work}", {"frames_per_cpu_sec": rate, **kept}


def _suffix(part: str) -> str:
    return "" if part == "node" else f"_{part}"


STEADY: Final = frozenset({"unicast", "broadcast", "connect", "memory", "latency"})
HEAVY: Final = frozenset({"storm", "growth"})
OTHERS: Final[dict[str, Callable[[System, Services, Path, Size], Found]]] = {
    "capacity": capacity,
    "topic": topic,
    "storm": storm,
    "growth": growth,
    "durable": durable,
    "publish": publish,
}
