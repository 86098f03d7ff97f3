"""One Daphne process (docs/node.md)."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from apps.realtime.node import node as module
from apps.realtime.node.writer import PlainWriter

from .conftest import MakeNode, OpenSocket


async def test_it_listens_from_the_start(make_node: MakeNode) -> None:
    node = make_node()
    assert node.listener_problem is None
    assert not node.draining


async def test_heartbeats_stay_below_the_60_s_of_nginx(make_node: MakeNode) -> None:
    node = make_node()
    assert node.session_config.heartbeat_secs + module.HEARTBEAT_JITTER_SECS < 60


async def test_heartbeats_are_spread(make_node: MakeNode, process: Any, topics: Any) -> None:
    node = module.Node(make_node().conf, process.exchange, topics)
    jitters = [node.session_config.heartbeat_jitter_secs() for _ in range(50)]
    assert all(0 <= jitter <= module.HEARTBEAT_JITTER_SECS for jitter in jitters)
    assert len(set(jitters)) > 10
    await node.close()


async def test_a_drain_waits_until_the_clients_are_gone_or_time_is_up(
    make_node: MakeNode, open_socket: OpenSocket
) -> None:
    node = make_node()
    await asyncio.wait_for(node.drain(60), 5)
    stuck = make_node()
    socket = open_socket(stuck)
    await socket.frame()
    held = asyncio.Event()
    [consumer] = stuck.consumers
    assert isinstance(consumer._writer, PlainWriter)
    write = consumer._writer._send

    async def never_writes(message: dict[str, Any]) -> None:
        await held.wait()
        await write(message)

    consumer._writer._send = never_writes
    await asyncio.wait_for(stuck.drain(0.1), 5)
    assert stuck.consumers == {consumer}
    held.set()
    assert (await socket.closed())[1] == 4001


async def test_a_client_is_asked_back_within_half_of_the_drain(make_node: MakeNode, open_socket: OpenSocket) -> None:
    node = make_node()
    sockets = [open_socket(node) for _ in range(10)]
    for socket in sockets:
        await socket.frame()
    await node.drain(4)
    waits = []
    for socket in sockets:
        frame = await socket.frame()
        assert (frame["id"], frame["data"]["reason"]) == ("RECONNECT", "drain")
        waits.append(frame["data"]["after_ms"])
    assert all(0 <= wait <= 2_000 for wait in waits)
    assert len(set(waits)) > 1


async def test_a_reader_that_is_behind_is_found_without_an_event(
    make_node: MakeNode, open_socket: OpenSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that pings and never reads gets answers from the server itself."""
    monkeypatch.setattr(module, "SLOW_READERS_EVERY_SECS", 0.01)
    node = make_node()
    slow = open_socket(node)
    await slow.frame()
    [consumer] = node.consumers
    fine = open_socket(node)
    await fine.frame()
    monkeypatch.setattr(consumer._writer, "_queued_bytes", 3 * 1024 * 1024)
    assert await slow.ended() == 4002
    assert fine.code is None


async def test_what_no_client_has_acknowledged_is_counted_over_all_sockets(
    make_node: MakeNode, open_socket: OpenSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW_READERS_EVERY_SECS", 0.01)
    monkeypatch.setattr(module, "CONSUMERS_A_LOOK", 2)
    node = make_node()
    for dialect in (True, True, True, False):
        await open_socket(node, v1=dialect).frame()
    for consumer in node.consumers:
        window = consumer._session._window
        assert window is None or all(window.admit(100) for _ in range(7))
    async with asyncio.timeout(10):
        while REGISTRY.get_sample_value("realtime_events_unacked") != 21:
            await asyncio.sleep(0.01)
