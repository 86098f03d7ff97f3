"""A WebSocket client that may break every rule: raw bytes over TCP (docs/security.md).

A library would refuse to send what an attacker sends: two Origin headers, unmasked frames, fragments without end.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from ops.services.ports import LOOPBACK

Headers = Iterable[tuple[bytes, bytes]]

# RFC 6455, 5.2.
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

# What an application sees where no close frame came (RFC 6455, 7.1.5).
ABNORMAL: Final = 1006
_NO_CODE: Final = 1005
_HANDSHAKE_SECS: Final = 15.0
_DEADLINE_SECS: Final = 10.0


def upgrade_headers(port: int, *, v1: bool = True, origin: str | None = "same") -> list[tuple[bytes, bytes]]:
    """What a browser sends to open a socket; `origin` "same" is that of a page of this very host."""
    headers = [
        (b"Host", f"{LOOPBACK}:{port}".encode()),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", b"MDEyMzQ1Njc4OWFiY2RlZg=="),
        (b"Sec-WebSocket-Version", b"13"),
    ]
    if v1:
        headers.append((b"Sec-WebSocket-Protocol", b"realtime.v1"))
    if origin is not None:
        headers.append((b"Origin", (f"http://{LOOPBACK}:{port}" if origin == "same" else origin).encode("latin-1")))
    return headers


def frame(payload: bytes, opcode: int = TEXT, *, final: bool = True, masked: bool = True) -> bytes:
    """One frame. The masking key is zero, so that the payload stands in it as it is."""
    size = len(payload)
    mask = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!B", mask | size)
    elif size < 2**16:
        head = struct.pack("!BH", mask | 126, size)
    else:
        head = struct.pack("!BQ", mask | 127, size)
    return bytes([(0x80 if final else 0) | opcode]) + head + (b"\0\0\0\0" if masked else b"") + payload


@dataclass(frozen=True)
class Ending:
    """How a socket ended: every text that came, and the close code."""

    texts: list[str]
    code: int


class _Reader(asyncio.StreamReader):
    """What came before a reset can be read: asyncio would throw it away, and a close frame with it."""

    def set_exception(self, exc: BaseException) -> None:
        self.feed_eof()


class Wire:
    """One TCP connection to a node, upgraded or refused.

    Attributes:
        status: of the answer to the handshake; 101 where it was accepted.
        headers: of that answer, names in lower case.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader = reader
        self._writer = writer
        status_line, *lines = head.split("\r\n")
        self.status = int(status_line.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @classmethod
    async def open(cls, port: int, headers: Headers | None = None, *, path: str = "/websocket") -> "Wire":
        """Send a handshake with exactly these headers and read the answer's head."""
        loop = asyncio.get_running_loop()
        reader = _Reader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.create_connection(lambda: protocol, LOOPBACK, port)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        lines = [name + b": " + value for name, value in (upgrade_headers(port) if headers is None else headers)]
        writer.write(b"\r\n".join([f"GET {path} HTTP/1.1".encode(), *lines, b"", b""]))
        async with asyncio.timeout(_HANDSHAKE_SECS):
            head = await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer, head.decode("latin-1").rstrip())

    async def send(self, data: bytes) -> None:
        """Send bytes as they are, as far as the server still takes them."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def text(self, deadline_secs: float = _DEADLINE_SECS) -> str:
        """The next text frame; `AssertionError` when the socket ends instead."""
        async with asyncio.timeout(deadline_secs):
            while True:
                opcode, payload = await self._frame()
                assert opcode != CLOSE, f"closed {_code(payload)}"
                if opcode == TEXT:
                    return payload.decode()

    async def ending(self, deadline_secs: float = _DEADLINE_SECS, *, answer: bool = True) -> Ending:
        """Read until the server has ended the socket; a close frame is answered, as RFC 6455 asks, or ignored."""
        texts: list[str] = []
        code = ABNORMAL
        async with asyncio.timeout(deadline_secs):
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    opcode, payload = await self._frame()
                    if opcode == TEXT:
                        texts.append(payload.decode())
                    elif opcode == CLOSE:
                        code = _code(payload)
                        if answer:
                            await self.send(frame(payload, CLOSE))
        return Ending(texts, code)

    def stop_reading(self) -> None:
        """Take nothing any more of what the server sends: it piles up in the kernel, then in the server."""
        self._writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        transport = self._writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()

    def read_again(self) -> None:
        """Take what the server sends, and what has piled up."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.resume_reading()

    @property
    def is_lost(self) -> bool:
        """Whether the server has dropped the connection, as far as writing shows."""
        return self._writer.transport.is_closing()

    def close(self) -> None:
        """Drop the connection without a word."""
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        return first & 0x0F, await self._reader.readexactly(size)


def _code(payload: bytes) -> int:
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else _NO_CODE
