"""Which durable events of its user a client has acknowledged (docs/unseen.md)."""

from collections import deque

from .names import Stream
from .resume import Cursor


class Receipts:
    """Those of one stream and one connection. The window bounds how many wait for their acknowledgement."""

    __slots__ = ("_waiting", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        # Which frame of the connection each event was in, oldest first.
        self._waiting: deque[tuple[int, Cursor]] = deque()

    def sent(self, frame: int, cursor: Cursor) -> None:
        """The event at `cursor` was written as the frame of this number, the first after AUTH OK being 1."""
        self._waiting.append((frame, cursor))

    def acked(self, received: int) -> Cursor | None:
        """The client has received so many frames: the last event in them; None where there is no new one."""
        last = None
        while self._waiting and self._waiting[0][0] <= received:
            _, last = self._waiting.popleft()
        return last
