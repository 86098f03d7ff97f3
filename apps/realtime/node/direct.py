"""Daphne's sockets without its layers: ready-made frames go to the kernel as they are (docs/node.md).

Most of what an event costs on its way to a socket is autobahn and Twisted: framing the same text for each socket, and
a turn of the reactor for each write. What is used here beside ASGI is looked for on each socket; where anything is
missing, as under another server or behind TLS in Daphne itself, frames take the plain way.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


class DirectSocket:
    """The TCP or unix socket of one accepted WebSocket under Daphne."""

    __slots__ = ("_open", "_protocol", "_send", "_transport")

    def __init__(self, protocol: Any, transport: Any) -> None:
        self._protocol = protocol
        self._open = protocol.STATE_OPEN
        self._transport = transport
        self._send = transport.getHandle().send

    @classmethod
    def behind(cls, send: Send) -> "DirectSocket | None":
        """The socket that ASGI's `send` of an accepted WebSocket writes to; None where it cannot be reached safely."""
        protocol = _protocol(send)
        transport: Any = getattr(protocol, "transport", None)
        tcp = sys.modules.get("twisted.internet.tcp")
        if tcp is None or not isinstance(transport, tcp.Server):
            return None
        try:
            plain = not transport.TLS and protocol._perMessageCompress is None and not protocol.send_queue
            socket = cls(protocol, transport)
            return socket if plain and socket.is_open and socket.unsent_bytes >= 0 else None
        except AttributeError:
            return None

    @property
    def is_open(self) -> bool:
        """False once either side has begun to close."""
        return bool(self._protocol.state == self._open)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return _buffered_bytes(self._transport)

    def write(self, data: bytes) -> int:
        """Write whole frames behind all that was written before; returns `unsent_bytes`.

        Dropped once the socket is closing.
        """
        if self._protocol.state != self._open:
            return 0
        transport = self._transport
        if transport._tempDataLen or transport.dataBuffer or not transport.connected:
            transport.write(data)
            return self.unsent_bytes
        try:
            sent = self._send(data)
        except OSError:
            # Full, or gone: Twisted finds out by itself.
            sent = 0
        if sent == len(data):
            return 0
        transport.write(data[sent:])
        return self.unsent_bytes


def transport_unsent_bytes(send: Send) -> int:
    """Bytes that the server took and the kernel did not: Twisted's buffers behind Daphne's `send`; 0 elsewhere.

    Servers that push back (uvicorn) leave the bytes in our own queue instead.
    """
    transport: Any = getattr(_protocol(send), "transport", None)
    try:
        # TLS in Daphne itself wraps the TCP transport.
        return _buffered_bytes(getattr(transport, "transport", transport))
    except AttributeError:
        return 0


def _protocol(send: Send) -> Any:
    """Autobahn's protocol: Daphne's `send` is bound to it."""
    return next(iter(getattr(send, "args", ())), None)


def _buffered_bytes(transport: Any) -> int:
    return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)
