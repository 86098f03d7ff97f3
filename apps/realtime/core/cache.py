"""The last durable events that came to a node, of all its streams together (docs/node.md)."""

from typing import Final

from .events import Event
from .names import Stream

# Of one node. A page that reloads, or two events that swapped, are behind by a handful; what is older is read.
CACHE_BYTES: Final = 64 * 1024 * 1024
# What an event costs beside its frame and the copy that sockets carry, about: objects of CPython, by their sizes.
OVERHEAD_BYTES: Final = 512


class EventCache:
    """Events by their places; the oldest to come make room for new ones.

    One bound for the node and none for a stream: ten thousand streams must not cost ten thousand times the bound.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # In the order of their coming.
        self._events: dict[tuple[Stream, str, int], Event] = {}

    def add(self, event: Event) -> Event | None:
        """Keep the event; where there is one of its place already, return that and change nothing."""
        place = (event.stream, event.epoch, event.seq)
        known = self._events.get(place)
        if known is not None:
            return known
        self._events[place] = event
        self._bytes += _cost(event)
        while self._bytes > self._max_bytes:
            oldest = self._events.pop(next(iter(self._events)))
            self._bytes -= _cost(oldest)
        return None

    def get(self, stream: Stream, epoch: str, seq: int) -> Event | None:
        """The event of this place, if it is still here."""
        return self._events.get((stream, epoch, seq))


def _cost(event: Event) -> int:
    return 2 * event.size + OVERHEAD_BYTES
