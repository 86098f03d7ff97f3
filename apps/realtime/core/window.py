"""How much a client may leave unacknowledged (docs/protocol.md, "Credit").

Daphne never pushes back on a slow reader: this window is the bound on what piles up for it.
"""

from collections import deque
from typing import Final

# protocol.md, credit: whichever is reached first.
WINDOW_EVENTS: Final = 256
WINDOW_BYTES: Final = 1024 * 1024
# A client acknowledges every 64 events or 5 s; one that is silent for this long does not read.
ACK_TIMEOUT_SECS: Final = 30.0


class Window:
    """The event frames of one connection that its client has not acknowledged."""

    __slots__ = ("_acked", "_bytes", "_progressed", "_silent_since", "_sizes")

    def __init__(self) -> None:
        self._acked = 0
        self._bytes = 0
        # Of the frames that are not acknowledged, oldest first.
        self._sizes: deque[int] = deque()
        self._progressed = False
        # None while nothing waits to be acknowledged.
        self._silent_since: float | None = None

    @property
    def unacked(self) -> int:
        """Event frames that were written and not acknowledged."""
        return len(self._sizes)

    @property
    def sent(self) -> int:
        """How many frames were written."""
        return self._acked + len(self._sizes)

    @property
    def has_room(self) -> bool:
        """Whether one more frame may be written. The last one may reach over the bound of bytes by its own size."""
        return len(self._sizes) < WINDOW_EVENTS and self._bytes < WINDOW_BYTES

    def admit(self, size: int) -> bool:
        """Whether a frame of `size` bytes may be written; then it counts as written."""
        # As `has_room`, without another call: once for each delivery.
        if len(self._sizes) >= WINDOW_EVENTS or self._bytes >= WINDOW_BYTES:
            return False
        self._sizes.append(size)
        self._bytes += size
        return True

    def acked(self, received: int) -> bool:
        """The client has received so many frames since AUTH OK; False where it claims more than were sent."""
        if received > self._acked + len(self._sizes):
            return False
        while self._acked < received:
            self._acked += 1
            self._bytes -= self._sizes.popleft()
            self._progressed = True
        return True

    def is_overdue(self, mono: float) -> bool:
        """Whether no acknowledgement came for 30 s although one was due. To be asked regularly."""
        if not self._sizes:
            self._silent_since = None
            return False
        if self._progressed or self._silent_since is None:
            self._progressed = False
            self._silent_since = mono
        return mono - self._silent_since >= ACK_TIMEOUT_SECS
