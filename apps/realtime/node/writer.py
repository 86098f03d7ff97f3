"""Writes a socket's frames in order and knows how far its reader is behind (docs/node.md)."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from ..core.codes import CloseCode
from ..core.window import WINDOW_BYTES

logger = logging.getLogger(__name__)

# protocol.md, section 2: bytes not yet written to the socket of a client that cannot acknowledge. Daphne never pushes
# back, so this is the bound on its buffers (40 MB to a client that never read cost 36 MiB before).
UNSENT_MAX_BYTES: Final = 1024 * 1024
# A client that acknowledges may be sent a whole window at once, and its last frame reaches over the bound.
WINDOW_UNSENT_MAX_BYTES: Final = 2 * WINDOW_BYTES
# Asking the transport costs more than counting: only every so many bytes.
_CHECK_EVERY_BYTES: Final = 64 * 1024

Send = Callable[[dict[str, Any]], Awaitable[None]]


class SocketWriter:
    """Callers never wait. One task drains what they wrote, while there is something to drain."""

    def __init__(self, send: Send, unsent_max_bytes: int) -> None:
        self._send = send
        self._unsent_max_bytes = unsent_max_bytes
        # Messages with their size in bytes.
        self._queue: deque[tuple[dict[str, Any], int]] = deque()
        self._queued_bytes = 0
        self._unchecked_bytes = 0
        self._closing = False
        self._drainer: asyncio.Task[None] | None = None

    @property
    def too_slow(self) -> bool:
        """`is_behind`, for a caller that asks after each frame: it looks every 64 KiB only."""
        return self._unchecked_bytes >= _CHECK_EVERY_BYTES and self.is_behind

    @property
    def is_behind(self) -> bool:
        """Whether the reader is too far behind, also with what the server wrote by itself: answers to pings."""
        self._unchecked_bytes = 0
        return self._queued_bytes + transport_unsent_bytes(self._send) > self._unsent_max_bytes

    def write(self, text: str, size: int) -> None:
        """Write a text frame of `size` bytes; after `close` nothing is written any more."""
        if self._closing:
            return
        self._queued_bytes += size
        self._unchecked_bytes += size
        self._queue.append(({"type": "websocket.send", "text": text}, size))
        self._wake()

    def close(self, code: CloseCode) -> None:
        """Close the socket after what was written, or at once where the reader must not get it or is too slow to."""
        if self._closing:
            return
        self._closing = True
        if code in (CloseCode.REVOKED, CloseCode.TOO_SLOW):
            self._queue.clear()
        self._queue.append(({"type": "websocket.close", "code": int(code)}, 0))
        self._wake()

    def abandon(self) -> None:
        """The socket is gone."""
        self._closing = True
        self._queue.clear()
        if self._drainer is not None:
            self._drainer.cancel()

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


def transport_unsent_bytes(send: Send) -> int:
    """Bytes that the server took and the kernel did not: Twisted's buffers behind Daphne's `send`; 0 elsewhere.

    Servers that push back (uvicorn) leave the bytes in our own queue instead.
    """
    protocol: Any = next(iter(getattr(send, "args", ())), None)
    transport: Any = getattr(protocol, "transport", None)
    # TLS in Daphne itself wraps the TCP transport.
    transport = getattr(transport, "transport", transport)
    try:
        return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)
    except AttributeError:
        return 0
