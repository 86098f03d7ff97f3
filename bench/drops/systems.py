"""The systems that are compared, each behind proxies that can be cut (docs/chaos.md)."""

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ops.services import Process, free_port, wait_for
from ops.services.binaries import REDIS_SERVER
from ops.services.ports import answers
from tests.chaos.check import Committal, judge
from tests.chaos.plant import GROUPS, TABS_PER_USER, Plant
from tests.chaos.sizes import Size
from tests.services.rigs.proxy import TcpProxy

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "run" / "bench-venv" / "bin"
CLIENTS = 20
# Events a second, each of them for every client.
RATE = 10.0
_ANSWER_SECS = 60.0
_ROW = "drops"


@dataclass(frozen=True)
class Result:
    """A line of the table; `due`, `delivered` and `twice` count pairs of an event and a client."""

    name: str
    sent: int
    due: int
    delivered: int
    twice: int

    @property
    def percent(self) -> float:
        """The share of what was due."""
        return 100 * self.delivered / self.due if self.due else 0.0


class System(Protocol):
    """Something that takes events and brings them to its clients.

    Attributes:
        fronts: for each group of clients the proxies that are its network.
    """

    fronts: list[list[TcpProxy]]

    async def start(self) -> None:
        """Everything up, every client connected."""

    async def begin(self) -> None:
        """Publish from now on."""

    async def end(self) -> None:
        """Publish no more."""

    async def result(self) -> Result:
        """What came to the clients."""

    async def close(self) -> None:
        """End every process."""


class Ours:
    """Message Flow: `notify(EVERYONE, …)`, two nodes, RabbitMQ, PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        # For the judge, who reads all of it at the end.
        settings = {"REALTIME_HISTORY_MAX_EVENTS": "1000000"}
        self._plant = Plant(folder / "ours", Size(CLIENTS // TABS_PER_USER, RATE, settings))
        self.fronts: list[list[TcpProxy]] = []

    async def start(self) -> None:
        self._plant.folder.mkdir()
        await self._plant.start()
        self.fronts = self._plant.fronts

    async def begin(self) -> None:
        await self._plant.webs[0].order(row=_ROW, rate=RATE, everyone=True)

    async def end(self) -> None:
        await self._plant.webs[0].order(stop=True)

    async def result(self) -> Result:
        await self._plant.settled(_ANSWER_SECS)
        await asyncio.to_thread(self._plant.ledger.collect)
        committal = Committal(self._plant.ledger.events)
        tabs = [tab.diary for tab in self._plant.tabs]
        score = judge(committal, tabs, {_ROW: 0.0}, {})[_ROW]
        assert not score.unknown, score.details[0]
        due = score.sent * len(tabs)
        return Result("Message Flow", score.sent, due, due - score.lost - score.told, score.twice)

    async def close(self) -> None:
        await self._plant.close()


class Redis:
    """The peers' Redis, in memory alone."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = f"{REDIS_SERVER.path()} --port {self.port} --bind 127.0.0.1 --appendonly no --dir {folder}"
        self._server = Process([*command.split(), "--save", ""], folder / "redis.log")
        wait_for(lambda: answers(self.port), 10, "Redis answers", [self._server.log])

    def close(self) -> None:
        """End it."""
        self._server.stop()


class Peer:
    """A system that runs in the environment of the peers: a server, a publisher, a process of clients."""

    def __init__(self, name: str, module: str, server: Sequence[str], folder: Path, redis: Redis) -> None:
        self._name = name
        self._module = module
        self._folder = folder
        self._env = {**os.environ, "REDIS_PORT": str(redis.port)}
        self._port = free_port()
        command = [str(PEERS / server[0]), *(word.replace("PORT", str(self._port)) for word in server[1:])]
        self._server = Process(command, folder / f"{module}.log", env=self._env, cwd=ROOT)
        self.fronts = [[TcpProxy(self._port)] for _ in range(GROUPS)]
        self._roles: list[subprocess.Popen[str]] = []
        self._sent = 0

    async def start(self) -> None:
        what = f"{self._name} answers"
        await asyncio.to_thread(wait_for, lambda: answers(self._port), 30, what, [self._server.log])
        addresses = [f"127.0.0.1:{front[0].port}" for front in self.fronts]
        self._publisher = self._role("publish", str(RATE))
        self._clients = self._role("listen", str(CLIENTS), *addresses)
        for role in (self._publisher, self._clients):
            await self._line(role)

    async def begin(self) -> None:
        assert self._publisher.stdin is not None
        self._publisher.stdin.write("begin\n")
        self._publisher.stdin.flush()

    async def end(self) -> None:
        self._sent = json.loads(await self._last_word(self._publisher))

    async def result(self) -> Result:
        received = [Counter(numbers) for numbers in json.loads(await self._last_word(self._clients))]
        delivered = sum(len(numbers) for numbers in received)
        twice = sum(numbers.total() for numbers in received) - delivered
        return Result(self._name, self._sent, self._sent * CLIENTS, delivered, twice)

    async def close(self) -> None:
        for role in self._roles:
            role.kill()
            role.wait()
        self._server.kill9()
        for front in self.fronts:
            await asyncio.to_thread(front[0].close)

    def _role(self, *arguments: str) -> "subprocess.Popen[str]":
        with (self._folder / f"{self._module}-{arguments[0]}.log").open("ab") as log:
            role = subprocess.Popen(  # noqa: S603  # our own command line
                [str(PEERS / "python"), "-m", f"bench.drops.{self._module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._env,
                cwd=ROOT,
                start_new_session=True,
            )
        self._roles.append(role)
        return role

    async def _line(self, role: "subprocess.Popen[str]") -> str:
        assert role.stdout is not None
        line: str = await asyncio.wait_for(asyncio.to_thread(role.stdout.readline), _ANSWER_SECS)
        assert line, f"{self._name} ended, see {self._folder}"
        return line

    async def _last_word(self, role: "subprocess.Popen[str]") -> str:
        assert role.stdin is not None
        role.stdin.close()
        return await self._line(role)


def channels(folder: Path, redis: Redis) -> Peer:
    """Django Channels, channels_redis, Daphne."""
    server = "daphne -v 0 -b 127.0.0.1 -p PORT bench.drops.channels_peer:application"
    return Peer("Channels, channels_redis", "channels_peer", server.split(), folder, redis)


def socketio(folder: Path, redis: Redis) -> Peer:
    """python-socketio, its Redis manager, uvicorn."""
    server = "uvicorn --log-level warning --host 127.0.0.1 --port PORT bench.drops.socketio_peer:application"
    return Peer("python-socketio, Redis", "socketio_peer", server.split(), folder, redis)
