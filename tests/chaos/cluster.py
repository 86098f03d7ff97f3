"""`make cluster`: three RabbitMQ hosts break, one after the other (docs/brokers.md, "A cluster of three")."""

import argparse
import asyncio
import os
import re
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import django

from ops.services.cluster import SIZE, Cluster
from tests.chaos import sizes
from tests.chaos.plant import Plant
from tests.chaos.stage import Line, Stage
from tests.services.rigs.proxy import TcpProxy

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "run" / "cluster"
CARD = ROOT / "run" / "cluster.json"

SIZE_OF_RUN = sizes.Size(users=40, rate=60.0, settings=sizes.FULL.settings)
# A host that dies is noticed at once. One that falls silent: a listener asks every 5 s with 10 s to answer.
_NOTICED_SECS = 5.0
_FOUND_SECS = 20.0
# What a publisher may need to be on another host than the one that failed.
_MOVED_SECS = 15.0
_PATIENCE_SECS = 60.0
_DOWN_SECS = 8.0
_FROZEN_SECS = 20.0
_AWAKE_SECS = 5.0
_APART_SECS = 30.0
_AT_WORK = re.compile(r"(Publishing to|Listening on) amqp://127\.0\.0\.1:(\d+)/")
# Whether queues are on the host of their listener's connection: the answers that occur.
_AT_HOME = (
    "lists:usort([node(amqqueue:get_pid(Queue)) == node(amqqueue:get_exclusive_owner(Queue)) "
    '|| Queue <- rabbit_amqqueue:list(<<"/">>)])'
)


class ClusterPlant(Plant):
    """The site on three hosts of RabbitMQ. Each process draws with which of them it begins."""

    def __init__(self, folder: Path, size: sizes.Size) -> None:
        super().__init__(folder, size)
        # From host to host: what one says to another about whose queue is where.
        self.ways: dict[tuple[int, int], TcpProxy] = {}
        self.cluster = Cluster(folder / "cluster", self._way)
        # For the control, which knows of one host alone.
        self.rabbitmq = self.cluster.hosts[0]

    async def start(self) -> None:
        await asyncio.to_thread(self.cluster.start)
        await super().start()

    async def close(self) -> None:
        for host in self.cluster.hosts:
            if host.running:
                host.thaw()
        await super().close()
        await asyncio.to_thread(self.cluster.close)
        for host in self.cluster.hosts:
            shutil.rmtree(host.folder / "mnesia", ignore_errors=True)

    def links(self) -> dict[str, int]:
        """The host that each link works with, by the name of its process, as its log says."""
        ports = [host.port for host in self.cluster.hosts]
        names = [*(web.name for web in self.webs), "relay", *(f"node{number}" for number in range(len(self.nodes)))]
        found = {}
        for name in names:
            if said := _AT_WORK.findall((self.folder / f"{name}.log").read_text()):
                found[name] = ports.index(int(said[-1][1]))
        return found

    def busiest(self) -> int:
        """The host of most links, publishers above all."""
        return max(range(SIZE), key=lambda host: sum(_weight(name) for name, at in self.links().items() if at == host))

    def _way(self, here: int, there: int, port: int) -> int:
        way = self.ways[here, there] = self._proxy(port)
        return way.port

    def _through(self, proxy: TcpProxy, port: int, url: str) -> str:  # type: ignore[override]  # needs no instance there
        if port == self.rabbitmq.port:
            return self.cluster.url
        return super()._through(proxy, port, url)


def _weight(name: str) -> int:
    return 1 if name.startswith("node") else 10


class Faults:
    """The lines of the card, and how long links needed to be on another host."""

    def __init__(self, plant: ClusterPlant) -> None:
        self._plant = plant
        self.moved: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)

    def lines(self) -> list[Line]:
        """In the order in which they are played."""
        killed = [
            Line(f"host {number + 1} kill -9", partial(self.killed, number), _NOTICED_SECS) for number in range(SIZE)
        ]
        return [
            Line("no fault", self.nothing, calm=True),
            *killed,
            Line("host SIGSTOP", self.frozen, _FOUND_SECS),
            Line("host apart from the others", self.apart, _FOUND_SECS),
        ]

    async def nothing(self, stage: Stage) -> None:
        """What the figures of the others are to be compared with; and queues are where their listeners are."""
        await asyncio.sleep(10)
        if await asyncio.to_thread(self._plant.cluster.hosts[0].eval, _AT_HOME) != "[true]":
            stage.wrong[stage.line].append("a queue is on another host than its listener's connection")

    async def killed(self, number: int, stage: Stage) -> None:
        """The two others go on; it comes back later."""
        host = self._plant.cluster.hosts[number]
        async with self._left(stage, number):
            async with stage.fault():
                await asyncio.to_thread(host.kill9)
            await asyncio.sleep(_DOWN_SECS)
            host.start()

    async def frozen(self, stage: Stage) -> None:
        """SIGSTOP: its connections stay open, to clients and hosts, and it answers nobody.

        Awake again, it may go on as if nothing had been: then it is healed, as cron does it on a server.
        """
        number = self._plant.busiest()
        host = self._plant.cluster.hosts[number]
        async with self._left(stage, number):
            async with stage.fault():
                host.freeze()
            await asyncio.sleep(_FROZEN_SECS)
            host.thaw()
            await asyncio.sleep(_AWAKE_SECS)
            if said := await asyncio.to_thread(host.heal):
                print(f"       {said.strip()}")

    async def apart(self, stage: Stage) -> None:
        """Nothing passes between it and the two others; clients reach all three."""
        plant, number = self._plant, self._plant.busiest()
        ways = [way for ends, way in plant.ways.items() if number in ends]
        async with self._left(stage, number):
            async with stage.fault():
                for way in ways:
                    await asyncio.to_thread(way.black_hole)
            await asyncio.sleep(_APART_SECS)
            if plant.cluster.hosts[number].is_ready():
                stage.wrong[stage.line].append("the host alone goes on: it should pause")
            for way in ways:
                await asyncio.to_thread(way.restore)

    @asynccontextmanager
    async def _left(self, stage: Stage, number: int) -> AsyncIterator[None]:
        """Inside, host `number` fails: all its links move on, and behind, the cluster becomes whole again."""
        plant, line = self._plant, stage.line
        leaving = {name for name, at in plant.links().items() if at == number}
        watching = asyncio.create_task(self._watch(line, leaving, number))
        yield
        await watching
        for name in leaving - {name for name, _ in self.moved[line]}:
            stage.wrong[line].append(f"{name} did not leave host {number + 1}")
        for name, secs in self.moved[line]:
            if secs > (_FOUND_SECS if name.startswith("node") else _MOVED_SECS):
                stage.wrong[line].append(f"{name} was on another host after {secs:.1f} s")
        end = time.monotonic() + _PATIENCE_SECS
        while not await asyncio.to_thread(plant.cluster.is_whole):
            if time.monotonic() > end:
                stage.wrong[line].append("the cluster did not become whole again")
                break
            await asyncio.sleep(0.5)

    async def _watch(self, line: str, leaving: set[str], number: int) -> None:
        began = time.monotonic()
        left = set(leaving)
        while left and time.monotonic() < began + _PATIENCE_SECS:
            await asyncio.sleep(0.05)
            links = await asyncio.to_thread(self._plant.links)
            for name in [name for name in left if links[name] != number]:
                left.remove(name)
                self.moved[line].append((name, time.monotonic() - began))


def main() -> int:
    """Run it; 0 when every figure is as asked."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", default="", help="only the lines whose name matches")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    # It reads Django's settings.
    from tests.chaos.run import run

    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    plant = ClusterPlant(FOLDER, SIZE_OF_RUN)
    faults = Faults(plant)

    def say(line: Line) -> None:
        moved = ", ".join(f"{name} {secs:.1f} s" for name, secs in faults.moved[line.name])
        print(f"       on another host after: {moved or 'nobody was on it'}", flush=True)

    return asyncio.run(run(Stage(plant, quick=False), faults.lines(), only=options.only, file=CARD, say=say))


if __name__ == "__main__":
    sys.exit(main())
