"""The broker inside the process, and the socket by which a second one reaches it (docs/brokers.md)."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from prometheus_client import REGISTRY

from apps.realtime.brokers.memory import Exchange, MemoryListener, MemoryPublisher
from apps.realtime.core.control import Change
from apps.realtime.core.events import FRAME_MAX_BYTES, SEQ_MAX_BYTES, Event, numbered
from apps.realtime.core.names import ALL, CONTROL, topic_stream, user_stream
from tests.signing import SIGNER
from tests.unit.realtime.core.driver import event

ROOT = Path(__file__).resolve().parents[4]
MINE = user_stream("7")
DEADLINE_SECS = 20.0


class Node:
    """A listener with what it heard."""

    def __init__(self, exchange: Exchange, local_socket: str | None = None) -> None:
        self.heard: list[Event] = []
        self._more = asyncio.Event()
        self.listener = MemoryListener(exchange, local_socket, SIGNER)

    def start(self) -> None:
        self.listener.start(self._take)

    def _take(self, one: Event) -> None:
        self.heard.append(one)
        self._more.set()

    async def until(self, condition: Callable[[list[Event]], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECS):
            while not condition(self.heard):
                self._more.clear()
                await self._more.wait()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node on an exchange of its own."""
    node = Node(Exchange())
    node.start()
    yield node
    await node.listener.close()


async def turn() -> None:
    """Let everything that is due in the loop happen."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, done.set)
    await done.wait()


def exchange_of(node: Node) -> Exchange:
    return node.listener._exchange


async def test_open_streams_are_heard_in_order_and_others_not(node: Node) -> None:
    publisher = MemoryPublisher(exchange_of(node), None, SIGNER)
    await node.listener.open(MINE)
    sent = [event(MINE), event(user_stream("8")), event(ALL), event(topic_stream("news")), event(MINE)]
    for one in sent:
        publisher.publish(one)
    await turn()
    assert node.heard == [sent[0], sent[2], sent[4]]
    assert publisher.problem is None
    assert publisher.flush(0)


async def test_a_released_stream_is_silent_and_all_cannot_be_released(node: Node) -> None:
    await node.listener.open(MINE)
    await node.listener.open(MINE)
    node.listener.release(MINE)
    node.listener.release(user_stream("unknown"))
    node.listener.release(ALL)
    exchange_of(node).route(event(MINE))
    everybodys = event(ALL)
    exchange_of(node).route(everybodys)
    await turn()
    assert node.heard == [everybodys]


async def test_every_node_of_the_process_hears_it() -> None:
    exchange = Exchange()
    nodes = [Node(exchange), Node(exchange)]
    for node in nodes:
        assert node.listener.problem == "not started"
        node.start()
        assert node.listener.problem is None
    exchange.route(event(ALL))
    await turn()
    await nodes[0].listener.close()
    exchange.route(event(ALL))
    await turn()
    assert [len(node.heard) for node in nodes] == [1, 2]
    await nodes[1].listener.close()
    assert not exchange.route(event(ALL))


async def test_other_threads_publish_in_their_order(node: Node) -> None:
    publisher = MemoryPublisher(exchange_of(node), None, SIGNER)
    await node.listener.open(MINE)
    sent = [event(MINE) for _ in range(200)]

    def publish_all() -> None:
        for one in sent:
            publisher.publish(one)

    await asyncio.gather(asyncio.to_thread(publish_all), node.until(lambda heard: len(heard) == 200))
    assert node.heard == sent


def test_an_event_for_a_node_whose_loop_has_ended_is_no_error() -> None:
    exchange = Exchange()

    async def start() -> None:
        Node(exchange).start()

    asyncio.run(start())
    MemoryPublisher(exchange, None, SIGNER).publish(event(ALL))


def test_with_no_node_the_loss_is_counted_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    name, labels = "realtime_events_publish_dropped_total", {"reason": "no_server"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    publisher = MemoryPublisher(Exchange(), None, SIGNER)
    publisher.start()
    publisher.publish(event(ALL))
    assert "no node runs in this process" in str(publisher.problem)
    assert REGISTRY.get_sample_value(name, labels) == before + 1
    assert "reached nobody" in caplog.text
    publisher.close(0)


def durable(seq: int, data: object = None) -> Event:
    one = event(MINE, data)
    return numbered(MINE, one.id, one.frame, one.mid, "epoch", seq)


class Outcomes:
    """What became of durable events."""

    def __init__(self) -> None:
        self.told: list[tuple[int, bool]] = []

    def settled(self, one: Event, confirmed: bool) -> None:
        self.told.append((one.seq, confirmed))


async def test_a_durable_event_is_confirmed_when_it_was_handed_over(node: Node) -> None:
    publisher, outcomes = MemoryPublisher(exchange_of(node), None, SIGNER), Outcomes()
    await node.listener.open(MINE)
    publisher.publish(durable(1), outcomes.settled)
    publisher.publish(event(MINE), outcomes.settled)
    await turn()
    assert [one.seq for one in node.heard] == [1, 0]
    assert outcomes.told == [(1, True), (0, True)]


def test_a_durable_event_that_reaches_nobody_stays_and_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    name, labels = "realtime_events_publish_dropped_total", {"reason": "no_server"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    publisher, outcomes = MemoryPublisher(Exchange(), None, SIGNER), Outcomes()
    publisher.publish(durable(1), outcomes.settled)
    assert outcomes.told == [(1, False)]
    assert publisher.problem is not None
    # Nor is a change: without a node there is nobody to tell.
    publisher.publish(Change("7").event("m1"))
    assert (REGISTRY.get_sample_value(name, labels) or 0) == before
    assert caplog.text == ""


async def test_an_outcome_is_that_of_its_own_event(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share the publisher: an event that arrives says nothing about one that did not just before it."""
    exchange = Exchange()
    publisher = MemoryPublisher(exchange, None, SIGNER)
    outcomes: list[bool] = []

    def meanwhile(*_: object) -> None:
        exchange.attach(node.listener)
        publisher.publish(event(ALL), lambda _, confirmed: outcomes.append(confirmed))

    monkeypatch.setattr(publisher._log, "warning", meanwhile)
    publisher.publish(event(ALL), lambda _, confirmed: outcomes.append(confirmed))
    assert outcomes == [True, False]


# The local socket --------------------------------------------------------------------------------


@pytest.fixture
def path() -> Any:
    """Where a local socket may lie; its path has to be short (108 bytes)."""
    with TemporaryDirectory(prefix="mf-") as folder:
        yield str(Path(folder) / "run" / "realtime.sock")


@pytest.fixture
async def server(path: str) -> AsyncIterator[Node]:
    """A node that other processes reach."""
    server = Node(Exchange(), path)
    server.start()
    yield server
    await server.listener.close()


def datagram(path: str, raw: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
        sender.sendto(raw, path)


async def test_only_its_owner_may_write_to_it_and_it_goes_with_the_server(path: str) -> None:
    server = Node(Exchange(), path)
    server.start()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    await server.listener.close()
    assert not Path(path).exists()


async def test_another_exchange_reaches_the_server_with_frames_of_any_size(server: Node, path: str) -> None:
    await server.listener.open(MINE)
    publisher = MemoryPublisher(Exchange(), path, SIGNER)
    small, large = event(MINE, "é\u2028\0"), event(MINE, "x" * (FRAME_MAX_BYTES - 100))
    publisher.publish(small)
    publisher.publish(large)
    await server.until(lambda heard: len(heard) == 2)
    assert [one.frame for one in server.heard] == [small.frame, large.frame]
    assert publisher.problem is None


async def test_a_durable_event_comes_by_the_socket_as_it_left(server: Node, path: str) -> None:
    await server.listener.open(MINE)
    publisher, outcomes = MemoryPublisher(Exchange(), path, SIGNER), Outcomes()
    room = FRAME_MAX_BYTES - SEQ_MAX_BYTES - event(MINE, "").size
    sent = [durable(1), durable(2**63 - 1, "x" * room)]
    for one in sent:
        publisher.publish(one, outcomes.settled)
    await server.until(lambda heard: len(heard) == 2)
    # `mid` travels in the frame alone.
    assert [replace(one, mid="") for one in sent] == server.heard
    assert outcomes.told == [(1, True), (2**63 - 1, True)]


async def test_a_change_comes_by_the_socket_with_our_signature(server: Node, path: str) -> None:
    await server.listener.open(CONTROL)
    sent = Change("7", "order-1").event("m1")
    MemoryPublisher(Exchange(), path, SIGNER).publish(sent)
    await server.until(bool)
    assert server.heard == [replace(sent, mid="")]


async def test_a_second_process_reaches_the_server(server: Node, path: str) -> None:
    """`manage.py realtime publish` beside `runserver`: a Python of its own, with settings of its own."""
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "tests.settings"}
    script = (
        "import django; from tests import settings; "
        f"settings.REALTIME_LOCAL_SOCKET = {path!r}; django.setup(); "
        "from django.core.management import call_command; "
        "call_command('realtime', 'publish', '--everyone', '--id', 'news/PUBLISHED', '--data', '{\"n\": 1}')"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        await server.until(bool)
        out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert (child.returncode, err) == (0, b"")
    assert b"published news/PUBLISHED" in out
    [one] = server.heard
    assert (one.stream, one.id) == (ALL, "news/PUBLISHED")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "bad_routing_key"),
        (b"user.*\0{}", "bad_routing_key"),
        (b"\xff.7\0{}", "bad_routing_key"),
        (b"all\0nonsense", "not_json"),
        (b'all\0{"id": "AUTH OK"}', "bad_id"),
        (b'all epoch 1 0123\0{"id": "x", "stream": "all", "seq": 1}', "forged_seq"),
        (b'all epoch 1\0{"id": "x", "stream": "all", "seq": 1}', "forged_seq"),
        (b'all epoch -1 0123\0{"id": "x"}', "forged_seq"),
        (b"all epoch " + b"9" * 9_999 + b' 0123\0{"id": "x"}', "forged_seq"),
        (b'all epoch 1 0123 more\0{"id": "x"}', "forged_seq"),
        (b'all \0{"id": "x"}', "forged_seq"),
        (b'all\0{"id": "x", "seq": 1}', "forged_seq"),
        (b'control\0{"id": "CHANGED", "data": {"user": "7", "topic": null}}', "forged_control"),
        (b'control  0 0123\0{"id": "CHANGED", "data": {"user": "7", "topic": null}}', "forged_control"),
        (b'all\0{"id": "x", "stream": "user.7"}', "forged_stream"),
        (b'all\0{"id": "x", "data": "' + b"x" * FRAME_MAX_BYTES + b'"}', "too_large"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_is_no_event_is_dropped_and_counted_and_the_next_one_comes(
    server: Node, path: str, raw: bytes, reason: str
) -> None:
    before = REGISTRY.get_sample_value("realtime_bodies_dropped_total", {"reason": reason}) or 0
    datagram(path, raw)
    datagram(path, b'all\0{"id": "next"}')
    await server.until(bool)
    assert [one.id for one in server.heard] == ["next"]
    assert REGISTRY.get_sample_value("realtime_bodies_dropped_total", {"reason": reason}) == before + 1


def test_a_server_that_does_not_read_holds_nobody_up(path: str) -> None:
    Path(path).parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(path)
        publisher = MemoryPublisher(Exchange(), path, SIGNER)
        for _ in range(2_000):
            publisher.publish(event(ALL, "x" * 1_000))
            if publisher.problem is not None:
                break
        assert publisher.problem is not None


@pytest.mark.parametrize("left_behind", [False, True])
def test_a_server_that_is_away_is_told(path: str, left_behind: bool) -> None:
    if left_behind:
        Path(path).parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(path)
    publisher = MemoryPublisher(Exchange(), path, SIGNER)
    publisher.publish(event(ALL))
    assert publisher.problem is not None
    assert path in publisher.problem


async def test_a_socket_that_was_left_behind_is_replaced(path: str) -> None:
    Path(path).parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(path)
    server = Node(Exchange(), path)
    server.start()
    MemoryPublisher(Exchange(), path, SIGNER).publish(event(ALL))
    await server.until(bool)
    await server.listener.close()
