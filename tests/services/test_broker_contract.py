"""One contract, every broker: what a publisher hands over, exactly the right listener gets (docs/brokers.md)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from apps.realtime.brokers.base import Listener, Publisher
from apps.realtime.brokers.memory import Exchange, MemoryListener, MemoryPublisher
from apps.realtime.brokers.rabbitmq.listener import RabbitListener
from apps.realtime.brokers.rabbitmq.publisher import RabbitPublisher
from apps.realtime.core.control import Change
from apps.realtime.core.events import Event, EventTemplate, numbered
from apps.realtime.core.names import ALL, CONTROL, Stream, topic_stream, user_stream
from apps.realtime.testing.process import RecordingPublisher
from tests.signing import SIGNER

DEADLINE_SECS = 10.0

# Ids and names that mean something to AMQP, to the escaping, to a path, or to a careless program.
HOSTILE_NAMES = [
    "1",
    "12",
    ".",
    "*",
    "#",
    "%",
    "%2E",
    "a.b",
    "a.*",
    "a b",
    "~",
    "é",
    "😀",
    "\x00",
    "\n",
    "all",
    "user.1",
    "../1",
    "x" * 254,
    "x" * 255,
    "é" * 255,
    "é" * 254 + "è",
]


def event(stream: Stream, number: int) -> Event:
    return EventTemplate("contract/EVENT", number, json.JSONEncoder).for_stream(stream, mid=f"m{number}", ts=1.0)


@dataclass
class Ear:
    """A listener with what it heard."""

    listener: Listener
    heard: list[Event] = field(default_factory=list)

    async def hears(self, count: int) -> list[Event]:
        async with asyncio.timeout(DEADLINE_SECS):
            while len(self.heard) < count:
                await asyncio.sleep(0.005)
        return self.heard

    @property
    def numbers(self) -> list[int]:
        return [json.loads(event.frame)["data"] for event in self.heard]


@dataclass
class Broker:
    """The broker under test: one publisher, any number of listeners."""

    publisher: Publisher
    ear: Callable[[], Awaitable[Ear]]


@pytest.fixture(params=["memory", "testing", "rabbitmq-user", "rabbitmq-node"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    exchange = Exchange()
    url = str(request.getfixturevalue("amqp_url")) if request.param.startswith("rabbitmq") else ""

    def make_listener() -> Listener:
        if not url:
            return MemoryListener(exchange, None, SIGNER)
        return RabbitListener([url], heartbeat_secs=10, per_user_queues=request.param == "rabbitmq-user", signer=SIGNER)

    async with AsyncExitStack() as stack:

        async def ear() -> Ear:
            heard = Ear(make_listener())
            heard.listener.start(heard.heard.append)
            stack.push_async_callback(heard.listener.close)
            async with asyncio.timeout(DEADLINE_SECS):
                while heard.listener.problem:
                    await asyncio.sleep(0.005)
            return heard

        publisher: Publisher
        if url:
            publisher = RabbitPublisher([url], heartbeat_secs=10, signer=SIGNER)
        elif request.param == "memory":
            publisher = MemoryPublisher(exchange, None, SIGNER)
        else:
            publisher = RecordingPublisher(exchange)
        stack.callback(publisher.close, 2.0)
        yield Broker(publisher, ear)


async def test_an_event_reaches_its_stream_alone_and_everybody_gets_all(broker: Broker) -> None:
    alice, bob = await broker.ear(), await broker.ear()
    await alice.listener.open(user_stream("1"))
    await bob.listener.open(user_stream("2"))
    for number, stream in enumerate([user_stream("1"), user_stream("2"), user_stream("3"), ALL]):
        broker.publisher.publish(event(stream, number))
    await alice.hears(2)
    await bob.hears(2)
    assert sorted(alice.numbers) == [0, 3]
    assert sorted(bob.numbers) == [1, 3]


async def test_the_frame_arrives_byte_for_byte(broker: Broker) -> None:
    ear = await broker.ear()
    sent = EventTemplate("a/ß", {"text": 'é "\u2028" </script> 😀'}, json.JSONEncoder).for_stream(ALL, mid="m", ts=1.5)
    broker.publisher.publish(sent)
    (came,) = await ear.hears(1)
    assert came == sent


async def test_a_durable_event_arrives_with_its_number_and_its_outcome_is_told(broker: Broker) -> None:
    ear = await broker.ear()
    sent = event(ALL, 1)
    sent = numbered(ALL, sent.id, sent.frame, sent.mid, "epoch", 2**63 - 1)
    outcomes: list[tuple[Event, bool]] = []
    broker.publisher.publish(sent, lambda *outcome: outcomes.append(outcome))
    (came,) = await ear.hears(1)
    assert came == sent
    assert await asyncio.to_thread(broker.publisher.flush, DEADLINE_SECS)
    assert outcomes == [(sent, True)]


async def test_a_change_reaches_every_listener_that_wants_it_as_it_was_told(broker: Broker) -> None:
    ears = [await broker.ear() for _ in range(3)]
    for ear in ears[:2]:
        await ear.listener.open(CONTROL)
    sent = Change("7", "order-1").event("m1")
    broker.publisher.publish(sent)
    broker.publisher.publish(event(ALL, 1))
    for ear in ears[:2]:
        assert sent in await ear.hears(2)
    await ears[2].hears(1)
    assert ears[2].numbers == [1]


async def test_order_is_kept_within_a_stream(broker: Broker) -> None:
    ear = await broker.ear()
    streams = [user_stream(str(number)) for number in range(5)]
    await asyncio.gather(*(ear.listener.open(stream) for stream in streams))
    for number in range(2_000):
        broker.publisher.publish(event(streams[number % 5], number))
    await ear.hears(2_000)
    for remainder in range(5):
        mine = [number for number in ear.numbers if number % 5 == remainder]
        assert mine == list(range(remainder, 2_000, 5))


@pytest.mark.parametrize("kind", [user_stream, topic_stream])
async def test_hostile_names_reach_the_right_one_only(broker: Broker, kind: Callable[[str], Stream]) -> None:
    ears = {name: await broker.ear() for name in HOSTILE_NAMES[:6]}
    rest = await broker.ear()
    await asyncio.gather(*(ear.listener.open(kind(name)) for name, ear in ears.items()))
    await asyncio.gather(*(rest.listener.open(kind(name)) for name in HOSTILE_NAMES[6:]))
    for number, name in enumerate(HOSTILE_NAMES):
        broker.publisher.publish(event(kind(name), number))
    for _ in ears.values():
        broker.publisher.publish(event(ALL, -1))
    await rest.hears(len(HOSTILE_NAMES) - 6 + len(ears))
    assert sorted(rest.numbers)[len(ears) :] == list(range(6, len(HOSTILE_NAMES)))
    for number, ear in enumerate(ears.values()):
        await ear.hears(1 + len(ears))
        assert sorted(ear.numbers) == [-1] * len(ears) + [number]


async def test_a_released_stream_is_silent_and_can_be_opened_again(broker: Broker) -> None:
    ear = await broker.ear()
    mine = user_stream("1")
    await ear.listener.open(mine)
    ear.listener.release(mine)
    await ear.listener.open(mine)  # while the release may still be under way
    broker.publisher.publish(event(mine, 1))
    await ear.hears(1)
    assert ear.numbers == [1]


async def test_opening_twice_delivers_once(broker: Broker) -> None:
    ear = await broker.ear()
    await asyncio.gather(*(ear.listener.open(user_stream("1")) for _ in range(10)))
    broker.publisher.publish(event(user_stream("1"), 1))
    broker.publisher.publish(event(ALL, 2))
    await ear.hears(2)
    assert sorted(ear.numbers) == [1, 2]


async def test_flush_tells_that_everything_left(broker: Broker) -> None:
    ear = await broker.ear()
    for number in range(100):
        broker.publisher.publish(event(ALL, number))
    assert await asyncio.to_thread(broker.publisher.flush, DEADLINE_SECS)
    assert broker.publisher.problem is None
    await ear.hears(100)
