"""A node's listener through the faults of its broker: it finds each by itself and delivers again (docs/brokers.md)."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from apps.realtime.brokers.rabbitmq import link
from apps.realtime.brokers.rabbitmq.listener import RabbitListener
from apps.realtime.brokers.rabbitmq.publisher import RabbitPublisher
from apps.realtime.brokers.rabbitmq.topology import EXCHANGE
from apps.realtime.core.events import Event, EventTemplate
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from ops.services import RabbitMQ
from tests.services.rigs.proxy import TcpProxy
from tests.signing import SIGNER

# Short, so that silence is noticed within a test's patience: found after one and a half of these.
HEARTBEAT_SECS = 2
DEADLINE_SECS = 30.0

ALICE, NEWS = user_stream("alice"), topic_stream("news")
STREAMS = [ALICE, NEWS, ALL]


async def until(condition: Callable[[], Any], what: str, deadline_secs: float = DEADLINE_SECS) -> None:
    try:
        async with asyncio.timeout(deadline_secs):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {deadline_secs:g} s: {what}") from None


class Rig:
    """A listener with the three kinds of streams open, and a publisher on the direct way to the broker."""

    def __init__(self, broker: RabbitMQ, vhost: str, listener_url: str, *, per_user_queues: bool) -> None:
        self.broker = broker
        self.vhost = vhost
        self.heard: list[tuple[Stream, int]] = []
        self.reopened: list[Stream] = []
        self.listener = RabbitListener(
            [listener_url], heartbeat_secs=HEARTBEAT_SECS, per_user_queues=per_user_queues, signer=SIGNER
        )
        self.publisher = RabbitPublisher([broker.url(vhost)], heartbeat_secs=HEARTBEAT_SECS, signer=SIGNER)
        self._number = 0

    async def start(self) -> None:
        self.listener.start(
            lambda event: self.heard.append((event.stream, json.loads(event.frame)["data"])), self.reopened.append
        )
        await until(lambda: self.listener.problem is None, "the listener is connected")
        await self.open_all()

    async def open_all(self) -> None:
        await asyncio.gather(*(self.listener.open(stream) for stream in STREAMS))

    async def delivers(self) -> None:
        """Publish to each stream until each was heard: an ephemeral event may get lost around a fault."""
        wanted = set(STREAMS)
        first = self._number
        try:
            async with asyncio.timeout(DEADLINE_SECS):
                while wanted:
                    for stream in wanted:
                        self._number += 1
                        template = EventTemplate("fault/PING", self._number, json.JSONEncoder)
                        self.publisher.publish(template.for_stream(stream, mid=str(self._number), ts=1.0))
                    await asyncio.sleep(0.05)
                    wanted -= {stream for stream, number in self.heard if number > first}
        except TimeoutError:
            raise AssertionError(f"no event of {wanted}; listener: {self.listener.problem}") from None

    async def queues(self) -> list[str]:
        return await asyncio.to_thread(self.broker.queues, self.vhost)

    async def bindings(self) -> list[str]:
        return await asyncio.to_thread(self.broker.binding_keys, self.vhost, EXCHANGE)


@pytest.fixture(params=["user", "node"])
async def rig(
    request: pytest.FixtureRequest, broker: RabbitMQ, vhost: str, proxy: Callable[[int], TcpProxy]
) -> AsyncIterator[Rig]:
    rig = Rig(broker, vhost, broker.url(vhost), per_user_queues=request.param == "user")
    await rig.start()
    yield rig
    await rig.listener.close()
    await asyncio.to_thread(rig.publisher.close, 1.0)


@pytest.fixture
async def proxied(
    broker: RabbitMQ, vhost: str, proxy: Callable[[int], TcpProxy]
) -> AsyncIterator[tuple[Rig, TcpProxy]]:
    tcp = proxy(broker.port)
    url = broker.url(vhost).replace(f":{broker.port}/", f":{tcp.port}/")
    rig = Rig(broker, vhost, url, per_user_queues=True)
    await rig.start()
    yield rig, tcp
    await asyncio.to_thread(tcp.restore)
    await rig.listener.close()
    await asyncio.to_thread(rig.publisher.close, 1.0)


async def test_broker_killed_and_started_again(rig: Rig) -> None:
    await rig.delivers()
    await asyncio.to_thread(rig.broker.kill9)
    await until(lambda: rig.listener.problem, "the loss is noticed")
    # A tab that authenticates while the broker is away is not kept waiting: its stream opens with the link.
    async with asyncio.timeout(1):
        await rig.listener.open(user_stream("late"))
    await asyncio.to_thread(rig.broker.start)
    await asyncio.to_thread(rig.broker.wait_ready)
    await until(lambda: rig.listener.problem is None, "the listener is back", 5)
    await rig.delivers()


async def test_a_node_that_is_busy_with_events_keeps_its_link(
    broker: RabbitMQ, vhost: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer to the watchdog, and to whoever opens a stream, waits behind more events than its time allows."""
    monkeypatch.setattr(link, "RPC_TIMEOUT_SECS", 2.0)
    rig = Rig(broker, vhost, broker.url(vhost), per_user_queues=True)
    problems: list[str] = []

    def work(event: Event) -> None:
        time.sleep(0.02)
        rig.heard.append((event.stream, json.loads(event.frame)["data"]))
        if rig.listener.problem is not None:
            problems.append(rig.listener.problem)

    rig.listener.start(work)
    await until(lambda: rig.listener.problem is None, "the listener is connected")
    await rig.open_all()
    queues = await rig.queues()
    events = HEARTBEAT_SECS * 4 * 50
    for number in range(events):
        template = EventTemplate("busy/PING", number, json.JSONEncoder)
        rig.publisher.publish(template.for_stream(ALICE, mid=str(number), ts=1.0))
    await until(lambda: len(rig.heard) > 0, "the first event was heard")
    opening = asyncio.create_task(rig.listener.open(user_stream("newcomer")))
    await until(lambda: len(rig.heard) == events, "every event was heard")
    await opening
    # It gives up waiting after 5 s, and the stream goes on opening.
    async with asyncio.timeout(DEADLINE_SECS):
        while len(await rig.queues()) == len(queues):
            await asyncio.sleep(0.05)
    assert problems == []
    assert len(await rig.queues()) == len(queues) + 1
    ours = [record for record in caplog.records if record.name.startswith("apps.realtime.brokers")]
    assert [record.getMessage() for record in ours if record.levelname == "WARNING"] == []
    await rig.listener.close()
    await asyncio.to_thread(rig.publisher.close, 1.0)


async def test_queue_deleted_under_the_consumer(rig: Rig) -> None:
    for queue in await rig.queues():
        await asyncio.to_thread(rig.broker.delete_queue, rig.vhost, queue)
    await rig.delivers()
    assert rig.listener.problem is None


async def test_exchange_deleted(rig: Rig) -> None:
    await rig.delivers()
    await asyncio.to_thread(rig.broker.delete_exchange, rig.vhost, EXCHANGE)
    await rig.delivers()


async def test_connection_closed_by_the_operator(rig: Rig) -> None:
    await asyncio.to_thread(rig.broker.close_connections, rig.vhost)
    await rig.delivers()


async def test_a_stream_that_the_broker_refuses_costs_the_others_no_event(broker: RabbitMQ, vhost: str) -> None:
    """The broker closes a channel over each refusal; it must not be one that carries events.

    Of those that are opened with the same call, none is missing but those that the broker refuses.
    """
    rig = Rig(broker, vhost, broker.url(vhost), per_user_queues=True)
    await rig.start()
    users = [user_stream(str(number)) for number in range(32)]  # on every lane
    newcomers = [user_stream(f"newcomer {number}") for number in range(24)]
    room = 12
    try:
        await asyncio.gather(*(rig.listener.open(stream) for stream in users))
        limit = len(await rig.queues()) + room
        await asyncio.to_thread(broker.limit_queues, vhost, limit)
        opening = asyncio.gather(*(rig.listener.open(newcomer) for newcomer in newcomers))
        rig.heard.clear()
        rounds = 0
        # open() gives up waiting after 5 s: by then the broker has refused several times.
        while not opening.done():
            rounds += 1
            for stream in users:
                template = EventTemplate("fault/PING", rounds, json.JSONEncoder)
                rig.publisher.publish(template.for_stream(stream, mid="m", ts=1.0))
            await asyncio.sleep(0.02)
        await until(lambda: len(rig.heard) >= rounds * len(users), "all have arrived")
        for stream in users:
            assert [number for heard, number in rig.heard if heard == stream] == list(range(1, rounds + 1))
        assert rig.listener.problem is None
        assert set(rig.reopened).isdisjoint(newcomers)
        # The broker counts loosely what is declared at the same time; nothing is left over of what failed.
        there = [queue.split(".", 3)[3] for queue in await rig.queues()]
        assert len(there) >= limit
        assert len(there) == len(set(there))

        await asyncio.to_thread(broker.limit_queues, vhost, None)
        template = EventTemplate("fault/PING", 0, json.JSONEncoder)
        async with asyncio.timeout(DEADLINE_SECS):
            while not {stream for stream, _ in rig.heard} >= set(newcomers):
                for newcomer in newcomers:
                    rig.publisher.publish(template.for_stream(newcomer, mid="m", ts=1.0))
                await asyncio.sleep(0.05)
        # Whoever had waited went on without it, so its head has to be compared.
        refused = len(newcomers) - room - (len(there) - limit)
        assert len(set(rig.reopened).intersection(newcomers)) == refused > 0
    finally:
        await rig.listener.close()
        await asyncio.to_thread(rig.publisher.close, 1.0)


async def test_a_consuming_channel_that_the_broker_closes_is_replaced(rig: Rig) -> None:
    """Without the right to read, basic.consume closes the lane's channel; it opens again when the right is there."""
    await rig.delivers()
    queues = await rig.queues()
    await asyncio.to_thread(rig.broker.set_permissions, rig.vhost, rig.broker.user, read="^realtime\\.events$")
    # Whose consumers are lost now cannot consume again.
    for queue in queues:
        # On one lane with the queue before it, it went with that one's channel.
        with suppress(RuntimeError):
            await asyncio.to_thread(rig.broker.delete_queue, rig.vhost, queue)
    await rig.listener.open(user_stream("refused"))
    await asyncio.to_thread(rig.broker.set_permissions, rig.vhost, rig.broker.user)
    await rig.delivers()
    assert rig.listener.problem is None


async def test_broker_absent_at_the_start(broker: RabbitMQ, vhost: str) -> None:
    await asyncio.to_thread(broker.stop)
    rig = Rig(broker, vhost, broker.url(vhost), per_user_queues=True)
    rig.listener.start(lambda event: rig.heard.append((event.stream, json.loads(event.frame)["data"])))
    try:
        await rig.open_all()
        assert rig.listener.problem
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(broker.wait_ready)
        await until(lambda: rig.listener.problem is None, "the listener is connected", 5)
        await rig.delivers()
    finally:
        await rig.listener.close()
        await asyncio.to_thread(rig.publisher.close, 1.0)


async def test_half_open_connection_is_found_and_left(proxied: tuple[Rig, TcpProxy]) -> None:
    """Packets dropped, not reset: aiormq would notice after three heartbeats, the watchdog after one and a half."""
    rig, tcp = proxied
    await rig.delivers()
    files = len(os.listdir("/proc/self/fd"))
    await asyncio.to_thread(tcp.black_hole)
    started = asyncio.get_running_loop().time()
    await until(lambda: rig.listener.problem, "the silence is noticed", 2 * HEARTBEAT_SECS)
    assert "no answer" in str(rig.listener.problem)
    assert asyncio.get_running_loop().time() - started > HEARTBEAT_SECS / 2
    await asyncio.to_thread(tcp.restore)
    await rig.delivers()
    # The old connection was let go of, not leaked.
    await until(lambda: len(os.listdir("/proc/self/fd")) <= files + 1, "the dead connection's file is closed")


async def test_frozen_broker(rig: Rig) -> None:
    await rig.delivers()
    rig.broker.freeze()
    await until(lambda: rig.listener.problem, "the silence is noticed", 2 * HEARTBEAT_SECS)
    rig.broker.thaw()
    await rig.delivers()


async def test_released_streams_leave_nothing_on_the_broker(rig: Rig) -> None:
    users = [user_stream(str(number)) for number in range(50)]
    before = len(await rig.queues())
    await asyncio.gather(*(rig.listener.open(stream) for stream in users))
    for stream in users:
        rig.listener.release(stream)
    try:
        async with asyncio.timeout(DEADLINE_SECS):
            while len(await rig.queues()) != before or set(users) & set(await rig.bindings()):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"left behind: {await rig.queues()} {await rig.bindings()}") from None


async def test_a_thousand_streams_open_with_the_link(broker: RabbitMQ, vhost: str) -> None:
    """A rebuild that takes longer than a call's deadline must not eat itself up."""
    rig = Rig(broker, vhost, broker.url(vhost), per_user_queues=True)
    await rig.start()
    try:
        await asyncio.gather(*(rig.listener.open(user_stream(str(number))) for number in range(1_000)))
        await asyncio.to_thread(broker.close_connections, vhost)
        await until(lambda: rig.listener.problem, "the loss is noticed")
        await until(lambda: rig.listener.problem is None, "the listener is back")
        await rig.delivers()

        async def all_bound() -> bool:
            return len(await rig.queues()) == 1_002

        async with asyncio.timeout(DEADLINE_SECS):
            while not await all_bound():
                await asyncio.sleep(0.05)
    finally:
        await rig.listener.close()
        await asyncio.to_thread(rig.publisher.close, 1.0)
