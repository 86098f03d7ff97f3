"""A WebSocket client of one thread, with deadlines (RFC 6455; docs/doctor.md).

Of the packages that the product needs, one has a client: Autobahn. It runs on Twisted's reactor, which a process starts
once and which must not be this process's, or on asyncio, which it refuses once Daphne has chosen Twisted.
"""

import base64
import os
import secrets
import socket
import ssl
from contextlib import suppress
from hashlib import sha1
from typing import Final

from .door import Door, left

_MAGIC: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_HEADER_MAX_BYTES: Final = 16 * 1024
# An event has 256 KiB at most (docs/protocol.md, section 3).
_MESSAGE_MAX_BYTES: Final = 1024 * 1024
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class NoWebSocket(Exception):
    """The other side does not speak it, or not with us."""


class Closed(Exception):
    """The other side has closed; `code` is 1006 where it did so without one."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class WebSocket:
    """An open socket. Every `deadline` is monotonic; beyond it TimeoutError is raised."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    @classmethod
    def open(cls, door: Door, path: str, subprotocol: str, deadline: float) -> "WebSocket":
        """
        Raises:
            OSError: nobody is there.
            NoWebSocket: who is there refuses.
        """
        found = cls(door.connect(deadline))
        try:
            found._shake_hands(door, path, subprotocol, deadline)
        except BaseException:
            found.close()
            raise
        return found

    def send(self, text: str, deadline: float) -> None:
        """Send a text frame."""
        self._send(_TEXT, text.encode(), deadline)

    def receive(self, deadline: float) -> str:
        """The next text.

        Raises:
            Closed: there is none.
            NoWebSocket: something came that no server may send.
        """
        message = b""
        while True:
            final, opcode, payload = self._frame(deadline)
            if opcode == _PING:
                self._send(_PONG, payload, deadline)
            elif opcode == _CLOSE:
                raise Closed(int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005)
            elif opcode in (_TEXT, _BINARY, _CONTINUATION):
                message += payload
                if len(message) > _MESSAGE_MAX_BYTES:
                    raise NoWebSocket(f"a message of more than {_MESSAGE_MAX_BYTES} bytes")
                if final:
                    return message.decode(errors="replace")

    def close(self) -> None:
        """Say goodbye, and wait for nothing."""
        with suppress(OSError):
            self._connection.settimeout(0.5)
            self._connection.sendall(_masked(_CLOSE, (1000).to_bytes(2, "big")))
        self._connection.close()

    def _shake_hands(self, door: Door, path: str, subprotocol: str, deadline: float) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {door.host}",
            f"Origin: {door.origin}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {subprotocol}",
        )
        self._connection.settimeout(left(deadline))
        self._connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _HEADER_MAX_BYTES:
                raise NoWebSocket("an endless header")
            self._read_more(deadline)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
        if not status.startswith("HTTP/1.1 101"):
            raise NoWebSocket(f"it answers {status[:80]}")
        accept = base64.b64encode(sha1(f"{key}{_MAGIC}".encode(), usedforsecurity=False).digest()).decode()
        if headers.get("sec-websocket-accept") != accept:
            raise NoWebSocket("its answer is not to this handshake")
        if headers.get("sec-websocket-protocol") != subprotocol:
            raise NoWebSocket(f"it does not speak {subprotocol}")

    def _frame(self, deadline: float) -> tuple[bool, int, bytes]:
        first, second = self._bytes(2, deadline)
        if second & 0x80:
            raise NoWebSocket("a server's frame is never masked")
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._bytes(2 if length == 126 else 8, deadline), "big")
        if length > _MESSAGE_MAX_BYTES:
            raise NoWebSocket(f"a frame of {length} bytes")
        return bool(first & 0x80), first & 0x0F, self._bytes(length, deadline)

    def _bytes(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._read_more(deadline)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _read_more(self, deadline: float) -> None:
        self._connection.settimeout(left(deadline))
        try:
            more = self._connection.recv(65_536)
        except (ConnectionError, ssl.SSLEOFError):
            more = b""
        if not more:
            raise Closed(1006)
        self._buffer += more

    def _send(self, opcode: int, payload: bytes, deadline: float) -> None:
        self._connection.settimeout(left(deadline))
        self._connection.sendall(_masked(opcode, payload))


def _masked(opcode: int, payload: bytes) -> bytes:
    # RFC 6455, 5.3: a client's frames are masked, each with a new key.
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    mask = secrets.token_bytes(4)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
