"""Takes deliveries out of a connection's bytes before aiormq sees them (docs/brokers.md; AMQP 0-9-1, section 4.2).

aiormq waits four times for each frame and starts a task for each delivery, which is most of what an event costs a node.
So our transport hands each delivery on from within `data_received`, and everything else to aiormq as it came.
Any program may publish: properties that make no sense are left out, and cost the connection nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, NamedTuple

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from pamqp import decode
from yarl import URL

from ...core.events import FRAME_MAX_BYTES

logger = logging.getLogger(__name__)

_FRAME: Final = Struct("!BHI")
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_FRAME_TYPES: Final = frozenset((_METHOD, _HEADER, _BODY, _HEARTBEAT))
# Type, channel and size before the payload, and the mark behind it.
_OVERHEAD_BYTES: Final = _FRAME.size + 1
# Class 60, method 60.
_DELIVER: Final = b"\0\x3c\0\x3c"
# Class, weight, size of the body, flags of the properties.
_CONTENT: Final = Struct("!HHQH")
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _MESSAGE_ID = 1 << 15, 1 << 14, 1 << 13, 1 << 7
# Between headers and message id, in their order: one byte each, or short strings.
_OCTETS: Final = (1 << 12, 1 << 11)
_SHORT_STRINGS: Final = (1 << 10, 1 << 9, 1 << 8)
_HEARTBEAT_FRAME: Final = b"\x08\0\0\0\0\0\0\xce"
# aiormq takes a peer for dead of which it sees nothing.
_SIGN_OF_LIFE_SECS: Final = 1.0
# A peer that shook hands and fell silent answers no goodbye; asyncio waits 30 s for it.
_TLS_GOODBYE_SECS: Final = 1.0
# Deliveries are handed on for so long, then others get their turn: one read may hold hundreds, each for ten thousand
# sockets.
_TURN_SECS: Final = 0.005


class Delivery(NamedTuple):
    """A message that a queue has sent us.

    Attributes:
        body: cut where it is larger than any event may be.
        headers: of its properties, as far as they can be read.
        message_id: the same; empty where there is none.
    """

    routing_key: str
    body: bytes
    headers: dict[str, Any]
    message_id: str


OnDelivery = Callable[[Delivery], None]


class _Coming:
    """A delivery of which frames are still to come."""

    __slots__ = ("body", "headers", "left", "message_id", "routing_key")

    def __init__(self, routing_key: str) -> None:
        self.routing_key = routing_key
        # Bytes of the body; None before the header has come.
        self.left: int | None = None
        self.body = b""
        self.headers: dict[str, Any] = {}
        self.message_id = ""


class DeliveryTap(asyncio.Protocol):
    """Stands between a transport and the protocol that it had.

    `on_delivery` is called in order of arrival and must not wait.
    """

    def __init__(self, inner: asyncio.Protocol, on_delivery: OnDelivery) -> None:
        self._inner = inner
        self._on_delivery = on_delivery
        self._loop = asyncio.get_running_loop()
        # asyncio's, or another loop's that has the same methods and other classes.
        self._transport: Any = None
        # Frames for a later turn, and the beginning of one.
        self._rest = b""
        self._later: asyncio.Handle | None = None
        # By channel.
        self._coming: dict[int, _Coming] = {}
        self._passed_at = 0.0
        # True from the first delivery on: before it, aiormq is still connecting and waits for certain frames.
        self._consuming = False
        # The peer said its goodbye while frames waited for their turn.
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._later is not None:
            self._later.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def eof_received(self) -> bool | None:
        if self._later is None:
            return self._inner.eof_received()
        self._ended = True
        # As the inner one will answer: a TLS transport closes by itself, and warns of who would keep it open.
        return self._transport.get_extra_info("sslcontext") is None

    def data_received(self, data: bytes) -> None:
        self._rest = self._rest + data if self._rest else data
        if self._later is None:
            self._work()

    def _work(self) -> None:
        self._later = None
        until = self._loop.time() + _TURN_SECS
        buffer = self._rest
        total = len(buffer)
        at = 0
        # Of what goes to aiormq: the parts that are complete, and where the present one began.
        others: list[bytes] = []
        began = 0
        while total - at >= _OVERHEAD_BYTES:
            kind, channel, size = _FRAME.unpack_from(buffer, at)
            if kind not in _FRAME_TYPES:
                # No frames at all, such as a server of another protocol: aiormq knows what to say.
                at = total
                break
            end = at + size + _OVERHEAD_BYTES
            if end > total:
                break
            start = at + _FRAME.size
            ours = (
                buffer.startswith(_DELIVER, start)
                if kind == _METHOD
                else kind != _HEARTBEAT and channel in self._coming
            )
            if ours:
                if at > began:
                    others.append(buffer[began:at])
                began = end
                self._take(kind, channel, buffer[start : end - 1])
                if self._loop.time() > until:
                    at = end
                    self._later = self._loop.call_soon(self._work)
                    break
            at = end
        if at > began:
            others.append(buffer[began:at])
        self._rest = buffer[at:]
        self._pass(others)
        # The broker waits as well.
        if self._later is None:
            self._transport.resume_reading()
            if self._ended:
                self._inner.eof_received()
        else:
            self._transport.pause_reading()

    def _pass(self, others: list[bytes]) -> None:
        now = self._loop.time()
        if others:
            self._passed_at = now
            self._inner.data_received(b"".join(others))
        elif self._consuming and now - self._passed_at >= _SIGN_OF_LIFE_SECS:
            self._passed_at = now
            self._inner.data_received(_HEARTBEAT_FRAME)

    def _take(self, kind: int, channel: int, payload: bytes) -> None:
        self._consuming = True
        if kind == _METHOD:
            self._coming[channel] = _Coming(_routing_key(payload))
            return
        coming = self._coming[channel]
        if kind == _HEADER:
            _, _, coming.left, flags = _CONTENT.unpack_from(payload)
            coming.headers, coming.message_id = _properties(payload, flags)
        elif coming.left is not None:
            coming.left -= len(payload)
            if len(coming.body) <= FRAME_MAX_BYTES:
                coming.body = coming.body + payload if coming.body else payload
        if not coming.left:
            del self._coming[channel]
            try:
                self._on_delivery(Delivery(coming.routing_key, coming.body, coming.headers, coming.message_id))
            except Exception:
                # A defect of ours must not end the connection of a whole node.
                logger.exception("A delivery could not be handled")


def _routing_key(payload: bytes) -> str:
    """The last field of a `basic.deliver`: behind consumer tag, delivery tag, redelivered and exchange."""
    at = 4 + 1 + payload[4] + 8 + 1
    at += 1 + payload[at]
    return payload[at + 1 : at + 1 + payload[at]].decode(errors="replace")


def _properties(payload: bytes, flags: int) -> tuple[dict[str, Any], str]:
    """Headers and message id of a content header; what cannot be read is left out with all that follows it."""
    headers: dict[str, Any] = {}
    at = _CONTENT.size
    try:
        for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
            if flags & flag:
                at += 1 + payload[at]
        if flags & _HEADERS:
            size, table = decode.field_table(payload[at:])
            headers = dict(table)
            at += size
        for flag in _OCTETS:
            at += bool(flags & flag)
        for flag in _SHORT_STRINGS:
            if flags & flag:
                at += 1 + payload[at]
        if flags & _MESSAGE_ID:
            return headers, payload[at + 1 : at + 1 + payload[at]].decode()
    except Exception:
        logger.debug("A message came with properties that cannot be read", exc_info=True)
    return headers, ""


class _Corked:
    """What is written in one turn of the event loop leaves in the next with one call of the kernel.

    aiormq writes each method by itself, and to open a thousand streams takes three thousand of them.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class TappedTransport(TransportFactory):
    """Opens a connection as aiormq does, with a `DeliveryTap` in front of its reader. It serves one connection."""

    def __init__(self, on_delivery: OnDelivery) -> None:
        self._on_delivery = on_delivery
        self._transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """Let go of the socket; nothing happens to one that is closed."""
        if self._transport is not None:
            self._transport.abort()

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        tls: SSLContextProvider = kwargs.pop("ssl_context_provider")
        context = await tls.get_context() if url.scheme == "amqps" else None
        if context is not None:
            kwargs["ssl_shutdown_timeout"] = _TLS_GOODBYE_SECS
        reader = asyncio.StreamReader()
        inner = asyncio.StreamReaderProtocol(reader)
        try:
            self._transport, _ = await loop.create_connection(
                lambda: DeliveryTap(inner, self._on_delivery), url.host or "", url.port or 0, ssl=context, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        corked: Any = _Corked(self._transport, loop)
        return reader, asyncio.StreamWriter(corked, inner, reader, loop)
