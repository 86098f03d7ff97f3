"""When a node begins and ends (docs/node.md)."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.realtime.node import lifetime as module
from apps.realtime.node.lifetime import Lifetime
from apps.realtime.node.node import Node
from tests.unit.systemd import Manager

from .conftest import MakeNode, OpenSocket


class Reactor:
    """Stands in for Twisted's reactor under Daphne."""

    def __init__(self) -> None:
        self.when_running: list[Callable[[], Any]] = []
        self.stopped = asyncio.Event()

    def callWhenRunning(self, callback: Callable[[], Any]) -> None:
        self.when_running.append(callback)

    def callLater(self, secs: float, callback: Callable[[], Any]) -> None:
        asyncio.get_running_loop().call_later(secs, callback)

    def callFromThread(self, callback: Callable[[], Any]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def stop(self) -> None:
        self.stopped.set()


@pytest.fixture
async def reactor(monkeypatch: pytest.MonkeyPatch) -> Reactor:
    """Daphne has installed it by the time the ASGI module is imported."""
    reactor = Reactor()
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", reactor)
    return reactor


@pytest.fixture
def handler() -> Iterator[None]:
    """Puts SIGTERM's handler back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


async def settle() -> None:
    """Let what is due in the loop happen."""
    for _ in range(3):
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0, done.set)
        await done.wait()


class Companion:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    def close(self) -> None:
        self.told.append("close")


def alone() -> None:
    """No companion."""


async def test_the_node_is_made_once_by_whoever_comes_first(make_node: MakeNode) -> None:
    lifetime = Lifetime(make_node, alone)
    assert lifetime.node() is lifetime.node()


async def test_a_companion_starts_and_ends_with_the_node(make_node: MakeNode) -> None:
    companion = Companion()
    lifetime = Lifetime(make_node, lambda: companion)
    assert companion.told == []
    lifetime.node()
    lifetime.node()
    assert companion.told == ["start"]
    await lifetime._end()
    assert companion.told == ["start", "close"]


async def test_under_daphne_it_starts_with_the_loop_and_not_with_the_first_request(
    make_node: MakeNode, reactor: Reactor, handler: None
) -> None:
    made: list[Node] = []

    def make() -> Node:
        made.append(make_node())
        return made[-1]

    Lifetime(make, alone)
    assert made == []
    for callback in reactor.when_running:
        callback()
    assert made == []
    await settle()
    assert len(made) == 1


async def test_under_daphne_sigterm_drains_and_then_stops(
    make_node: MakeNode, open_socket: OpenSocket, reactor: Reactor, handler: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_SECS", 2.0)
    lifetime = Lifetime(make_node, alone)
    for callback in reactor.when_running:
        callback()
    await settle()
    socket = open_socket(lifetime.node())
    await socket.frame()
    signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    assert await socket.ended() == 4001
    # A second one is ignored: the supervisor's patience is longer than the drain.
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    await asyncio.wait_for(reactor.stopped.wait(), 10)
    assert lifetime.node().consumers == set()


async def test_systemd_hears_that_the_loop_turns_and_nothing_when_it_hangs(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager = Manager(tmp_path)
    for name, value in manager.environment(watchdog_secs=0.3).items():
        monkeypatch.setenv(name, value)
    lifetime = Lifetime(make_node, alone)
    assert manager.everything() == []
    lifetime.node()
    assert await asyncio.to_thread(manager.told, 10) == "READY=1"
    for _ in range(3):
        assert await asyncio.to_thread(manager.told, 10) == "WATCHDOG=1"
    manager.everything()
    # The loop hangs in this call.
    assert manager.told(0.5) is None
    assert await asyncio.to_thread(manager.told, 10) == "WATCHDOG=1"
    manager.close()
