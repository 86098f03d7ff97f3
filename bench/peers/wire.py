"""The bytes of a WebSocket client, made by hand: nothing between the socket and the count (RFC 6455)."""

import struct
from collections.abc import Iterable
from typing import Final

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
# The first byte of a text that is not in pieces.
FINAL_TEXT: Final = 0x80 | TEXT


def handshake(port: int, path: str, headers: Iterable[str] = ()) -> bytes:
    """What a browser sends to open a socket, without compression."""
    host = f"127.0.0.1:{port}"
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"Origin: http://{host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Version: 13",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One masked frame. The masking key is zero, so that the payload stands in it as it is."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    else:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    return head + b"\0\0\0\0" + payload


def server_frame(payload: bytes) -> bytes:
    """One text frame as servers send it, unmasked."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | TEXT, size) + payload
    return struct.pack("!BBH", 0x80 | TEXT, 126, size) + payload
