"""Deliveries out of the bytes of a connection, however they are cut, and all else to aiormq (docs/brokers.md)."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from aiormq.exceptions import AMQPConnectionError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header, heartbeat
from yarl import URL

from apps.realtime.brokers.rabbitmq.deliveries import Delivery, DeliveryTap, OnDelivery, TappedTransport
from apps.realtime.core.events import FRAME_MAX_BYTES

FRAME_MAX = 131_072


class Inner(asyncio.Protocol):
    """What aiormq sees."""

    def __init__(self) -> None:
        self.seen = b""
        self.calls: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(("lost", exc))

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def eof_received(self) -> bool | None:
        self.calls.append("eof")
        return True

    def data_received(self, data: bytes) -> None:
        self.seen += data


class Transport(asyncio.Transport):
    """Counts how often the broker has to wait."""

    def __init__(self, extra: dict[str, Any] | None = None) -> None:
        super().__init__(extra)
        self.paused = False
        self.pauses = 0

    def pause_reading(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.paused = False


class Tapped:
    """A tap with what came out of both of its sides."""

    def __init__(self, on_delivery: OnDelivery | None = None) -> None:
        self.inner = Inner()
        self.deliveries: list[Delivery] = []
        self.transport = Transport()
        self.tap = DeliveryTap(self.inner, on_delivery or self.deliveries.append)
        self.tap.connection_made(self.transport)

    async def feed(self, data: bytes) -> None:
        """What a transport reads; it is paused where this takes turns."""
        self.tap.data_received(data)
        while self.transport.paused:
            await asyncio.sleep(0)


@pytest.fixture
async def tapped() -> Tapped:
    return Tapped()


def delivery(key: str, content: bytes, channel: int = 1, **properties: Any) -> list[bytes]:
    """The frames of a delivery."""
    parts = [content[at : at + FRAME_MAX - 8] for at in range(0, len(content), FRAME_MAX - 8)]
    frames = [
        frame.marshal(commands.Basic.Deliver("tag", 1, False, "realtime.events", key), channel),
        frame.marshal(header.ContentHeader(0, len(content), commands.Basic.Properties(**properties)), channel),
    ]
    return frames + [frame.marshal(body.ContentBody(part), channel) for part in parts]


OTHER = [
    frame.marshal(commands.Queue.BindOk(), 1),
    frame.marshal(heartbeat.Heartbeat(), 0),
    frame.marshal(commands.Basic.Cancel("tag"), 2),
]
EVERY_PROPERTY = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "headers": {"epoch": "e1", "seq": 7, "sig": "s"},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m1",
    "timestamp": datetime(2026, 1, 2, tzinfo=UTC),
    "message_type": "a/B",
    "user_id": "guest",
    "app_id": "app",
    "cluster_id": "",
}


@given(data=st.data())
def test_however_the_bytes_are_cut(data: st.DataObject) -> None:
    groups = [
        delivery("user.1", b"{}", 1, **EVERY_PROPERTY),
        [OTHER[0]],
        delivery("all", b"", 2, headers={"seq": 1}),
        [OTHER[1], OTHER[2]],
        delivery("topic.t", b"x" * 300, 3),
    ]
    stream = b"".join(part for group in groups for part in group)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))

    async def feed() -> Tapped:
        tapped = Tapped()
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            if start < end:
                await tapped.feed(stream[start:end])
        return tapped

    tapped = asyncio.run(feed())
    assert tapped.deliveries == [
        Delivery("user.1", b"{}", {"epoch": "e1", "seq": 7, "sig": "s"}, "m1"),
        Delivery("all", b"", {"seq": 1}, ""),
        Delivery("topic.t", b"x" * 300, {}, ""),
    ]
    assert tapped.inner.seen.replace(OTHER[1], b"") == b"".join(OTHER).replace(OTHER[1], b"")


@given(present=st.sets(st.sampled_from(sorted(EVERY_PROPERTY))))
def test_whichever_properties_there_are(present: set[str]) -> None:
    async def feed() -> Tapped:
        tapped = Tapped()
        properties = {name: EVERY_PROPERTY[name] for name in present}
        await tapped.feed(b"".join(delivery("all", b"{}", 1, **properties)))
        return tapped

    [came] = asyncio.run(feed()).deliveries
    assert came.headers == (EVERY_PROPERTY["headers"] if "headers" in present else {})
    assert came.message_id == ("m1" if "message_id" in present else "")


async def test_frames_of_two_channels_may_alternate(tapped: Tapped) -> None:
    for parts in zip(delivery("user.1", b"one", 1), delivery("user.2", b"two", 2), strict=True):
        for part in parts:
            await tapped.feed(part)
    assert [(came.routing_key, came.body) for came in tapped.deliveries] == [("user.1", b"one"), ("user.2", b"two")]


async def test_a_body_of_many_frames(tapped: Tapped) -> None:
    content = bytes(range(256)) * 1024
    await tapped.feed(b"".join(delivery("all", content)))
    assert tapped.deliveries[0].body == content
    assert len(content) == FRAME_MAX_BYTES


async def test_of_a_body_that_is_too_large_no_more_is_kept_than_shows_it(tapped: Tapped) -> None:
    for part in delivery("all", b"x" * 20_000_000):
        await tapped.feed(part)
    assert FRAME_MAX_BYTES < len(tapped.deliveries[0].body) <= FRAME_MAX_BYTES + FRAME_MAX
    await tapped.feed(b"".join(delivery("all", b"{}")))
    assert tapped.deliveries[1].body == b"{}"


def spoiled(name: str, value: str, by: bytes) -> list[bytes]:
    parts = delivery("all", b"{}", 1, **(EVERY_PROPERTY | {name: value}))
    assert value.encode() in parts[1]
    return [parts[0], parts[1].replace(value.encode(), by), *parts[2:]]


@pytest.mark.parametrize(
    ("frames", "message_id"),
    [
        (spoiled("message_id", "mmmm", b"\xff\xfe\xfd\xfc"), ""),
        (spoiled("correlation_id", "cccc", b"\xff\xfe\xfd\xfc"), "m1"),
        (spoiled("app_id", "aaaa", b"\xff\xfe\xfd\xfc"), "m1"),
    ],
)
async def test_a_property_that_makes_no_sense_costs_nothing_else(
    tapped: Tapped, frames: list[bytes], message_id: str
) -> None:
    await tapped.feed(b"".join(frames))
    [came] = tapped.deliveries
    assert (came.body, came.headers, came.message_id) == (b"{}", EVERY_PROPERTY["headers"], message_id)


async def test_headers_that_make_no_sense_are_left_out(tapped: Tapped) -> None:
    method, head, content = delivery("all", b"{}", 1, headers={"seq": 7}, message_id="m1")
    # No such type of a value.
    at = head.index(b"seq") + 3
    await tapped.feed(method + head[:at] + b"?" + head[at + 1 :] + content)
    assert tapped.deliveries == [Delivery("all", b"{}", {}, "")]


async def test_a_handler_that_fails_costs_its_delivery_only(caplog: pytest.LogCaptureFixture) -> None:
    came: list[Delivery] = []

    def handle(delivery: Delivery) -> None:
        if delivery.body == b"bad":
            raise RuntimeError("a defect")
        came.append(delivery)

    tapped = Tapped(handle)
    await tapped.feed(b"".join(delivery("all", b"bad") + delivery("all", b"good")))
    assert [each.body for each in came] == [b"good"]
    assert "could not be handled" in caplog.text


async def test_what_is_no_frame_is_aiormq_s_to_refuse(tapped: Tapped) -> None:
    await tapped.feed(b"AMQP\x00\x00\x09\x01")
    await tapped.feed(b"HTTP/1.1 400 Bad Request\r\n")
    assert tapped.inner.seen == b"AMQP\x00\x00\x09\x01HTTP/1.1 400 Bad Request\r\n"


async def test_what_the_broker_returns_is_no_delivery(tapped: Tapped) -> None:
    _, head, content = delivery("all", b"{}")
    returned = frame.marshal(commands.Basic.Return(312, "NO_ROUTE", "realtime.events", "all"), 1) + head + content
    await tapped.feed(returned)
    assert tapped.inner.seen == returned
    assert tapped.deliveries == []


async def test_deliveries_alone_are_a_sign_of_life(tapped: Tapped) -> None:
    """aiormq would take the connection for dead."""
    await tapped.feed(b"".join(delivery("all", b"{}") * 3))
    assert tapped.inner.seen == OTHER[1]
    # Not for each of them.
    await tapped.feed(b"".join(delivery("all", b"{}") * 3))
    assert tapped.inner.seen == OTHER[1]


async def test_before_the_first_delivery_aiormq_sees_nothing_but_the_broker_s_bytes(tapped: Tapped) -> None:
    """It takes what follows its own words for the answer to them."""
    start = frame.marshal(commands.Connection.Start(0, 9, {"product": "x" * 400}, "PLAIN", "en_US"), 0)
    for part in (start[:200], start[200:]):
        await tapped.feed(part)
    assert tapped.inner.seen == start


async def test_many_deliveries_let_others_have_their_turns() -> None:
    turns = 0
    came: list[int] = []

    def handle(delivery: Delivery) -> None:
        time.sleep(0.004)
        came.append(turns)

    transport, inner = Transport(), Inner()
    tap = DeliveryTap(inner, handle)
    tap.connection_made(transport)
    frames = b"".join(delivery("all", b"{}") * 10)
    tap.data_received(frames + OTHER[0])
    assert transport.pauses == 1
    # What is read meanwhile, by a transport that cannot be paused at once, has to wait.
    tap.data_received(b"".join(delivery("all", b"{}")) + OTHER[2])
    while len(came) < 11 or transport.paused:
        turns += 1
        await asyncio.sleep(0)
    assert max(came.count(turn) for turn in came) <= 2
    assert transport.pauses >= 5
    assert inner.seen.replace(OTHER[1], b"") == OTHER[0] + OTHER[2]


async def test_nothing_is_handed_on_after_the_connection() -> None:
    came: list[Delivery] = []

    def handle(delivery: Delivery) -> None:
        time.sleep(0.01)
        came.append(delivery)

    tap = DeliveryTap(Inner(), handle)
    tap.connection_made(Transport())
    tap.data_received(b"".join(delivery("all", b"{}") * 3))
    tap.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(came) == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_the_end_comes_after_what_was_sent_before_it(tls: bool) -> None:
    inner = Inner()
    tap = DeliveryTap(inner, lambda _: time.sleep(0.01))
    transport = Transport({"sslcontext": object()} if tls else None)
    tap.connection_made(transport)
    tap.data_received(b"".join(delivery("all", b"{}") * 3) + OTHER[0])
    assert tap.eof_received() is not tls
    assert (inner.calls, inner.seen) == ([transport], OTHER[1])
    while transport.paused:
        await asyncio.sleep(0)
    assert (inner.calls, inner.seen) == ([transport, "eof"], OTHER[1] + OTHER[0])


async def test_everything_else_of_a_transport_goes_through(tapped: Tapped) -> None:
    error = OSError("reset")
    tapped.tap.pause_writing()
    tapped.tap.resume_writing()
    assert tapped.tap.eof_received() is True
    tapped.tap.connection_lost(error)
    assert tapped.inner.calls == [tapped.transport, "pause", "resume", "eof", ("lost", error)]


class Peer:
    """A server that keeps what it reads.

    Attributes:
        reads: what came, read by read.
    """

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(delivery("all", b"{}")) + OTHER[0])
        while data := await reader.read(1_000_000):
            self.reads.append(data)
        self.ended.set()
        writer.close()
        await writer.wait_closed()


async def test_what_aiormq_writes_in_one_turn_leaves_together_and_before_the_end() -> None:
    peer, came = Peer(), list[Delivery]()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = TappedTransport(came.append)
    url = URL(f"amqp://127.0.0.1:{port}/")
    reader, writer = await transport.create(url, ssl_context_provider=None)
    async with asyncio.timeout(10):
        assert await reader.readexactly(len(OTHER[0])) == OTHER[0]
    assert [each.body for each in came] == [b"{}"]
    for number in range(100):
        writer.write(b"%02d" % number)
    await writer.drain()
    async with asyncio.timeout(10):
        while not peer.reads:
            await asyncio.sleep(0.001)
    assert peer.reads == [b"".join(b"%02d" % number for number in range(100))]
    writer.write(b"the last")
    assert writer.can_write_eof()
    writer.write_eof()
    writer.close()
    async with asyncio.timeout(10):
        await peer.ended.wait()
        await writer.wait_closed()
    assert b"".join(peer.reads[1:]) == b"the last"
    server.close()
    await server.wait_closed()


async def test_a_peer_that_never_answers_is_let_go_of() -> None:
    connected = asyncio.Event()
    lost = asyncio.Event()

    class Silent(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connected.set()

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set()

    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = TappedTransport(lambda _: None)
    transport.abort()
    _, writer = await transport.create(URL(f"amqp://127.0.0.1:{port}/"), ssl_context_provider=None)
    async with asyncio.timeout(10):
        await connected.wait()
        transport.abort()
        await lost.wait()
    transport.abort()
    assert writer.is_closing()
    server.close()
    await server.wait_closed()


async def test_a_connection_that_is_refused_is_aiormq_s_error() -> None:
    with pytest.raises(AMQPConnectionError):
        await TappedTransport(lambda _: None).create(URL("amqp://127.0.0.1:1/"), ssl_context_provider=None)
