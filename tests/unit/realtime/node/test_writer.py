"""Frames in order, and how far a reader is behind (docs/node.md)."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from apps.realtime.core.codes import CloseCode
from apps.realtime.core.events import Event
from apps.realtime.core.framing import websocket_message
from apps.realtime.core.names import ALL
from apps.realtime.node.direct import transport_unsent_bytes
from apps.realtime.node.writer import (
    UNSENT_MAX_BYTES,
    DirectWriter,
    PlainWriter,
    TurnEnd,
    make_writer,
)
from tests.unit.realtime.node.daphne import DaphneSocket


class Server:
    """The server's end of `send`: it may block, and it may fail."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def send(self, message: dict[str, Any]) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.messages.append(message)

    @property
    def written(self) -> list[Any]:
        return [message.get("text", message.get("code")) for message in self.messages]


@pytest.fixture
async def server() -> Server:
    """A server that takes everything at once."""
    return Server()


async def drained(writer: PlainWriter) -> None:
    """Wait until the writer has nothing to do."""
    if writer._drainer is not None:
        await asyncio.wait({writer._drainer}, timeout=10)
    assert writer._drainer is None


BEHIND: list[str] = []


@pytest.fixture(autouse=True)
def nobody_is_behind() -> None:
    """Each test begins with readers that keep up."""
    BEHIND.clear()


def plain(send: Any) -> PlainWriter:
    return PlainWriter(send, lambda: BEHIND.append("behind"), UNSENT_MAX_BYTES)


def write(writer: PlainWriter | DirectWriter, text: str) -> None:
    """As an event or as a frame of this socket alone: one way."""
    if len(text) % 2:
        writer.write_text(text)
    else:
        writer.write_event(Event(ALL, "a/B", text, len(text.encode())))


async def test_frames_come_in_order_and_the_close_last(server: Server) -> None:
    writer = plain(server.send)
    for text in ("a", "b"):
        write(writer, text)
    await drained(writer)
    write(writer, "c")
    writer.close(CloseCode.DRAIN)
    await drained(writer)
    assert server.written == ["a", "b", "c", 4001]
    assert server.messages[0] == {"type": "websocket.send", "text": "a"}
    assert server.messages[-1] == {"type": "websocket.close", "code": 4001}


async def test_after_the_close_nothing_is_written(server: Server) -> None:
    writer = plain(server.send)
    writer.close(CloseCode.REVOKED)
    write(writer, "late")
    writer.close(CloseCode.DRAIN)
    await drained(writer)
    assert server.written == [4503]


async def test_a_server_that_blocks_blocks_no_caller(server: Server) -> None:
    writer = plain(server.send)
    server.open.clear()
    for number in range(1_000):
        write(writer, str(number))
    assert server.messages == []
    server.open.set()
    await drained(writer)
    assert server.written == [str(number) for number in range(1_000)]


async def test_a_reader_over_1_mib_behind_is_too_slow(server: Server) -> None:
    writer = plain(server.send)
    server.open.clear()
    frame = "x" * (64 * 1024)
    for _ in range(UNSENT_MAX_BYTES // len(frame)):
        write(writer, frame)
        assert not writer.is_behind
    assert not BEHIND
    write(writer, frame)
    assert writer.is_behind
    assert BEHIND


async def test_who_catches_up_is_not_too_slow(server: Server) -> None:
    writer = plain(server.send)
    for _ in range(50):
        write(writer, "x" * (64 * 1024))
        await drained(writer)
        assert not BEHIND


@pytest.mark.parametrize("code", [CloseCode.TOO_SLOW, CloseCode.REVOKED])
async def test_what_a_reader_would_not_get_in_time_or_must_not_get_is_dropped(server: Server, code: CloseCode) -> None:
    writer = plain(server.send)
    server.open.clear()
    write(writer, "on its way")
    await asyncio.sleep(0)
    write(writer, "waits")
    writer.close(code)
    server.open.set()
    await drained(writer)
    assert server.written == ["on its way", code]


async def test_a_server_that_fails_ends_the_writing_quietly(server: Server) -> None:
    writer = plain(server.send)
    server.error = RuntimeError("Unexpected ASGI message")
    write(writer, "a")
    write(writer, "b")
    await drained(writer)
    server.error = None
    write(writer, "c")
    writer.close(CloseCode.DRAIN)
    await drained(writer)
    assert server.messages == []


async def test_a_frame_that_the_server_refuses_ends_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    """Daphne does so above its size of messages: the client would wait for ever for what follows."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        if message.get("text") == "large":
            raise RuntimeError("exceeding payload limit")
        sent.append(message)

    writer = plain(send)
    write(writer, "large")
    write(writer, "small")
    await drained(writer)
    assert sent == [{"type": "websocket.close", "code": 4006}]
    assert "exceeding payload limit" in caplog.text


async def test_an_abandoned_writer_lets_go_of_a_blocked_server(server: Server) -> None:
    writer = plain(server.send)
    server.open.clear()
    write(writer, "a")
    await asyncio.sleep(0)
    writer.abandon()
    await drained(writer)
    server.open.set()
    write(writer, "b")
    assert server.messages == []
    plain(server.send).abandon()


def transport(*, buffered: int, offset: int, temporary: int) -> SimpleNamespace:
    return SimpleNamespace(dataBuffer=b"x" * buffered, offset=offset, _tempDataLen=temporary)


@pytest.mark.parametrize("tls", [False, True])
async def test_under_daphne_twisted_s_buffers_count(server: Server, tls: bool) -> None:
    tcp = transport(buffered=UNSENT_MAX_BYTES, offset=24, temporary=25)
    protocol = SimpleNamespace(transport=SimpleNamespace(transport=tcp) if tls else tcp)

    async def handle(protocol: Any, message: dict[str, Any]) -> None:
        await server.send(message)

    send = partial(handle, protocol)
    assert transport_unsent_bytes(send) == UNSENT_MAX_BYTES + 1
    writer = plain(send)
    assert writer.is_behind
    assert not BEHIND


async def test_elsewhere_only_our_own_queue_counts(server: Server) -> None:
    assert transport_unsent_bytes(server.send) == 0
    assert transport_unsent_bytes(partial(server.send)) == 0


async def next_turn() -> None:
    """What was written has left."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


@pytest.fixture
def turn_end() -> TurnEnd:
    return TurnEnd()


def direct(daphne: DaphneSocket, turn_end: TurnEnd) -> DirectWriter:
    writer = make_writer(daphne.send, turn_end, lambda: BEHIND.append("behind"), UNSENT_MAX_BYTES)
    assert isinstance(writer, DirectWriter)
    return writer


def test_elsewhere_than_under_daphne_the_plain_way_is_taken(server: Server, turn_end: TurnEnd) -> None:
    assert isinstance(make_writer(server.send, turn_end, lambda: None, UNSENT_MAX_BYTES), PlainWriter)


async def test_what_comes_in_one_turn_leaves_in_one_write(turn_end: TurnEnd) -> None:
    with DaphneSocket() as daphne:
        writer = direct(daphne, turn_end)
        for text in ("a", "bc", "d"):
            write(writer, text)
        assert daphne.received == b""
        await next_turn()
        assert daphne.received == b"".join(map(websocket_message, ("a", "bc", "d")))
        assert daphne.writes == 1
        write(writer, "ef")
        await next_turn()
        assert daphne.received == websocket_message("ef")


async def test_the_close_follows_what_was_written(turn_end: TurnEnd) -> None:
    with DaphneSocket() as daphne:
        writer = direct(daphne, turn_end)
        write(writer, "a")
        writer.close(CloseCode.DRAIN)
        assert daphne.received == websocket_message("a")
        write(writer, "late")
        writer.close(CloseCode.REVOKED)
        await next_turn()
        assert daphne.received == b""
        assert daphne.messages == [{"type": "websocket.close", "code": 4001}]
        writer.abandon()


@pytest.mark.parametrize("code", [CloseCode.TOO_SLOW, CloseCode.REVOKED])
async def test_a_reader_that_is_too_slow_or_revoked_gets_the_close_only(turn_end: TurnEnd, code: CloseCode) -> None:
    with DaphneSocket() as daphne:
        writer = direct(daphne, turn_end)
        write(writer, "a")
        writer.close(code)
        await next_turn()
        assert daphne.received == b""
        assert daphne.messages == [{"type": "websocket.close", "code": int(code)}]


async def test_a_reader_that_never_reads_is_told_of_once_it_is_behind(turn_end: TurnEnd) -> None:
    with DaphneSocket() as daphne:
        writer = direct(daphne, turn_end)
        written = 0
        frame = "x" * (64 * 1024)
        while not BEHIND:
            write(writer, frame)
            written += len(websocket_message(frame))
            await next_turn()
        assert writer.is_behind
        assert UNSENT_MAX_BYTES < daphne.unsent <= UNSENT_MAX_BYTES + len(frame) + 16
        assert daphne.unsent + len(daphne.read_all()) == written


async def test_an_abandoned_writer_writes_nothing(turn_end: TurnEnd) -> None:
    with DaphneSocket() as daphne:
        writer = direct(daphne, turn_end)
        write(writer, "a")
        writer.abandon()
        write(writer, "b")
        await next_turn()
        assert daphne.received == b""
        writer.close(CloseCode.DRAIN)
        await next_turn()
        assert daphne.messages == []


async def test_one_socket_that_fails_silences_no_other(turn_end: TurnEnd, caplog: pytest.LogCaptureFixture) -> None:
    with DaphneSocket() as broken, DaphneSocket() as fine:
        writers = [direct(broken, turn_end), direct(fine, turn_end)]
        del broken.protocol.state
        for writer in writers:
            write(writer, "a")
        await next_turn()
        assert fine.received == websocket_message("a")
        assert "could not be written to" in caplog.text
        # It would lack a frame that its session believes to have.
        await next_turn()
        assert broken.messages == [{"type": "websocket.close", "code": 4006}]
