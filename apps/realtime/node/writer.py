"""Writes a socket's frames in order and knows how far its reader is behind (docs/node.md)."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from .. import metrics
from ..core.codes import CloseCode
from ..core.events import Event
from ..core.framing import websocket_message
from ..core.window import WINDOW_BYTES
from .direct import DirectSocket, Send, transport_unsent_bytes

logger = logging.getLogger(__name__)

# protocol.md, section 2: bytes not yet written to the socket of a client that cannot acknowledge. Daphne never pushes
# back, so this is the bound on its buffers (40 MB to a client that never read cost 36 MiB before).
UNSENT_MAX_BYTES: Final = 1024 * 1024
# A client that acknowledges may be sent a whole window at once, and its last frame reaches over the bound.
WINDOW_UNSENT_MAX_BYTES: Final = 2 * WINDOW_BYTES

_AT_ONCE: Final = (CloseCode.REVOKED, CloseCode.TOO_SLOW)

_DIRECT: Final = metrics.WRITERS.labels("direct")
_PLAIN: Final = metrics.WRITERS.labels("plain")


class TurnEnd:
    """Writes what came in one turn of the event loop with one call a socket, in the next turn."""

    def __init__(self) -> None:
        self._writers: list[DirectWriter] = []

    def add(self, writer: "DirectWriter") -> None:
        """It has something to write."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._flush)
        self._writers.append(writer)

    def _flush(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            try:
                writer.flush()
            except Exception:
                # A defect of ours with one socket must not silence the others, nor leave a hole in what this one gets.
                logger.exception("A socket could not be written to")
                with suppress(Exception):
                    writer.close(CloseCode.RESYNC)


class SocketWriter(ABC):
    """Callers never wait. `on_behind` is called when a write shows that the reader is too far behind."""

    __slots__ = ("_closing", "_on_behind", "_send", "_unsent_max_bytes")

    def __init__(self, send: Send, on_behind: Callable[[], None], unsent_max_bytes: int) -> None:
        self._send = send
        self._on_behind = on_behind
        self._unsent_max_bytes = unsent_max_bytes
        self._closing = False

    @property
    @abstractmethod
    def is_behind(self) -> bool:
        """Whether the reader is too far behind, also with what the server wrote by itself: answers to pings."""

    @abstractmethod
    def write_event(self, event: Event) -> None:
        """Write an event's frame; after `close` nothing is written any more."""

    @abstractmethod
    def write_text(self, text: str) -> None:
        """Write a frame of this socket alone; the same."""

    def close(self, code: CloseCode) -> None:
        """Close the socket after what was written, or at once where the reader must not get it or is too slow to."""
        if self._closing:
            return
        self._closing = True
        if code in _AT_ONCE:
            self._forget()
        self._end({"type": "websocket.close", "code": int(code)})

    def abandon(self) -> None:
        """The socket is gone."""
        self._closing = True
        self._forget()

    @abstractmethod
    def _forget(self) -> None:
        """Drop what was not written yet."""

    @abstractmethod
    def _end(self, message: dict[str, Any]) -> None:
        """Send this after what was written."""


def make_writer(send: Send, turn_end: TurnEnd, on_behind: Callable[[], None], unsent_max_bytes: int) -> SocketWriter:
    """The writer of an accepted socket."""
    socket = DirectSocket.behind(send)
    if socket is None:
        _PLAIN.inc()
        return PlainWriter(send, on_behind, unsent_max_bytes)
    _DIRECT.inc()
    return DirectWriter(socket, send, turn_end, on_behind, unsent_max_bytes)


class DirectWriter(SocketWriter):
    """Under Daphne."""

    __slots__ = ("_first", "_goodbye", "_rest", "_socket", "_turn_end")

    def __init__(
        self,
        socket: DirectSocket,
        send: Send,
        turn_end: TurnEnd,
        on_behind: Callable[[], None],
        unsent_max_bytes: int,
    ) -> None:
        super().__init__(send, on_behind, unsent_max_bytes)
        self._socket = socket
        self._turn_end = turn_end
        # What came in this turn of the loop: mostly one frame, for which there is no list.
        self._first: bytes | None = None
        self._rest: list[bytes] = []
        # The last message, while it is on its way.
        self._goodbye: asyncio.Future[None] | None = None

    @property
    def is_behind(self) -> bool:
        return self._socket.unsent_bytes > self._unsent_max_bytes

    def write_event(self, event: Event) -> None:
        self._write(event.message)

    def write_text(self, text: str) -> None:
        self._write(websocket_message(text))

    def _write(self, message: bytes) -> None:
        if self._closing:
            return
        if self._first is None:
            self._first = message
            self._turn_end.add(self)
        else:
            self._rest.append(message)

    def flush(self) -> None:
        """Write what has come."""
        data = self._first
        if data is None:
            return
        self._first = None
        if self._rest:
            data = b"".join((data, *self._rest))
            self._rest.clear()
        if self._socket.write(data) > self._unsent_max_bytes and not self._closing:
            self._on_behind()

    def _forget(self) -> None:
        self._first = None
        self._rest.clear()

    def _end(self, message: dict[str, Any]) -> None:
        self.flush()
        self._goodbye = asyncio.ensure_future(self._send(message))


class PlainWriter(SocketWriter):
    """Under any ASGI server. One task drains what was written, while there is something to drain."""

    # Asking the transport costs more than counting: only every so many bytes.
    _CHECK_EVERY_BYTES: Final = 64 * 1024

    def __init__(self, send: Send, on_behind: Callable[[], None], unsent_max_bytes: int) -> None:
        super().__init__(send, on_behind, unsent_max_bytes)
        # Messages with their size in bytes.
        self._queue: deque[tuple[dict[str, Any], int]] = deque()
        self._queued_bytes = 0
        self._unchecked_bytes = 0
        self._drainer: asyncio.Task[None] | None = None

    @property
    def is_behind(self) -> bool:
        self._unchecked_bytes = 0
        return self._queued_bytes + transport_unsent_bytes(self._send) > self._unsent_max_bytes

    def write_event(self, event: Event) -> None:
        self._write(event.frame, event.size)

    def write_text(self, text: str) -> None:
        self._write(text, len(text.encode()))

    def _write(self, text: str, size: int) -> None:
        if self._closing:
            return
        self._queued_bytes += size
        self._unchecked_bytes += size
        self._queue.append(({"type": "websocket.send", "text": text}, size))
        self._wake()
        if self._unchecked_bytes >= self._CHECK_EVERY_BYTES and self.is_behind:
            self._on_behind()

    def abandon(self) -> None:
        super().abandon()
        if self._drainer is not None:
            self._drainer.cancel()

    def _forget(self) -> None:
        self._queue.clear()

    def _end(self, message: dict[str, Any]) -> None:
        self._queue.append((message, 0))
        self._wake()

    def _wake(self) -> None:
        if self._drainer is None:
            self._drainer = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._queue:
                message, size = self._queue.popleft()
                self._queued_bytes -= size
                await self._send(message)
        except Exception as error:
            # Some servers say so that the socket is gone. Daphne refuses a frame, and would leave the socket silent.
            logger.warning("A frame could not be written: %s: %s", type(error).__name__, error)
            self._closing = True
            self._queue.clear()
            with suppress(Exception):
                await self._send({"type": "websocket.close", "code": int(CloseCode.RESYNC)})
        finally:
            self._drainer = None
