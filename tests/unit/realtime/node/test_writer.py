"""Frames in order, and how far a reader is behind (docs/node.md)."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from apps.realtime.core.codes import CloseCode
from apps.realtime.node.writer import UNSENT_MAX_BYTES, SocketWriter, transport_unsent_bytes


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


async def drained(writer: SocketWriter) -> None:
    """Wait until the writer has nothing to do."""
    if writer._drainer is not None:
        await asyncio.wait({writer._drainer}, timeout=10)
    assert writer._drainer is None


def write(writer: SocketWriter, text: str) -> None:
    writer.write(text, len(text.encode()))


async def test_frames_come_in_order_and_the_close_last(server: Server) -> None:
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
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
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
    writer.close(CloseCode.REVOKED)
    write(writer, "late")
    writer.close(CloseCode.DRAIN)
    await drained(writer)
    assert server.written == [4503]


async def test_a_server_that_blocks_blocks_no_caller(server: Server) -> None:
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
    server.open.clear()
    for number in range(1_000):
        write(writer, str(number))
    assert server.messages == []
    server.open.set()
    await drained(writer)
    assert server.written == [str(number) for number in range(1_000)]


async def test_a_reader_over_1_mib_behind_is_too_slow(server: Server) -> None:
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
    server.open.clear()
    frame = "x" * (64 * 1024)
    for _ in range(UNSENT_MAX_BYTES // len(frame)):
        write(writer, frame)
        assert not writer.too_slow
    write(writer, frame)
    assert writer.is_behind
    write(writer, frame)
    assert writer.too_slow


async def test_who_catches_up_is_not_too_slow(server: Server) -> None:
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
    for _ in range(50):
        write(writer, "x" * (64 * 1024))
        await drained(writer)
        assert not writer.too_slow


@pytest.mark.parametrize("code", [CloseCode.TOO_SLOW, CloseCode.REVOKED])
async def test_what_a_reader_would_not_get_in_time_or_must_not_get_is_dropped(server: Server, code: CloseCode) -> None:
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
    server.open.clear()
    write(writer, "on its way")
    await asyncio.sleep(0)
    write(writer, "waits")
    writer.close(code)
    server.open.set()
    await drained(writer)
    assert server.written == ["on its way", code]


async def test_a_server_that_fails_ends_the_writing_quietly(server: Server) -> None:
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
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

    writer = SocketWriter(send, UNSENT_MAX_BYTES)
    write(writer, "large")
    write(writer, "small")
    await drained(writer)
    assert sent == [{"type": "websocket.close", "code": 4006}]
    assert "exceeding payload limit" in caplog.text


async def test_an_abandoned_writer_lets_go_of_a_blocked_server(server: Server) -> None:
    writer = SocketWriter(server.send, UNSENT_MAX_BYTES)
    server.open.clear()
    write(writer, "a")
    await asyncio.sleep(0)
    writer.abandon()
    await drained(writer)
    server.open.set()
    write(writer, "b")
    assert server.messages == []
    SocketWriter(server.send, UNSENT_MAX_BYTES).abandon()


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
    writer = SocketWriter(send, UNSENT_MAX_BYTES)
    assert writer.is_behind
    assert not writer.too_slow


async def test_elsewhere_only_our_own_queue_counts(server: Server) -> None:
    assert transport_unsent_bytes(server.send) == 0
    assert transport_unsent_bytes(partial(server.send)) == 0
