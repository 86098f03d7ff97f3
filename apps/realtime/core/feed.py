"""What a node knows of one stream: its head, and which of its last events are at hand (docs/node.md).

Whoever is behind the head pulls the next event from here or, where it is not here any more, from the database. So a
hole, a lost tail, a full window and a returning client are one and the same case.
"""

from enum import Enum, auto

from .cache import EventCache
from .events import Event
from .names import Stream
from .resume import Cursor, Head


class Arrival(Enum):
    """What an event from the broker is to a feed."""

    NEW = auto()
    COPY = auto()
    # Another event has this place: the database was restored from a backup and gives its numbers a second time.
    GIVEN_TWICE = auto()
    OTHER_EPOCH = auto()


class Observation(Enum):
    """What a head from the database says to a feed."""

    NOTHING_NEW = auto()
    AHEAD = auto()
    ROTATED = auto()
    # The database has forgotten events that were delivered: it was restored from a backup.
    RAN_BACK = auto()


class Feed:
    """One stream.

    Attributes:
        position: the numbering (empty until something is known) and the highest seq that exists for sure.
    """

    __slots__ = ("_cache", "position", "stream")

    def __init__(self, stream: Stream, cache: EventCache) -> None:
        self.stream = stream
        self.position = Cursor("", 0)
        self._cache = cache

    def arrived(self, event: Event) -> Arrival:
        """A durable event came from the broker. It was committed before it was published."""
        epoch, head = self.position
        if event.epoch != epoch:
            if epoch:
                return Arrival.OTHER_EPOCH
            epoch, head = self.position = Cursor(event.epoch, 0)
        known = self._cache.add(event)
        if known is not None:
            # The frame is signed, the properties of a message are not.
            return Arrival.COPY if known.frame == event.frame else Arrival.GIVEN_TWICE
        if event.seq > head:
            self.position = Cursor(epoch, event.seq)
        return Arrival.NEW

    def cached(self, seq: int) -> Event | None:
        """The event of the present numbering, if it is still here."""
        return self._cache.get(self.stream, self.position.epoch, seq)

    def observed(self, head: Head, since: Cursor) -> Observation:
        """A head was read from the database; `since` is the feed's position when that reading began."""
        if since.epoch != self.position.epoch:
            # The reading may be older than what is known by now. Whoever knows nothing yet believes it.
            if since.epoch or self.position.epoch != head.epoch:
                return Observation.NOTHING_NEW
        elif head.epoch != since.epoch:
            known = bool(since.epoch)
            self.position = Cursor(head.epoch, head.head)
            # Before anything was known nobody could be behind it.
            return Observation.ROTATED if known else Observation.NOTHING_NEW
        elif head.head < since.seq:
            return Observation.RAN_BACK
        if head.head <= self.position.seq:
            return Observation.NOTHING_NEW
        self.position = Cursor(head.epoch, head.head)
        return Observation.AHEAD
