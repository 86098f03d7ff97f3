"""What waits for the broker in one process, bounded (docs/publishing.md)."""

import threading
from collections import deque
from typing import Final

from ... import metrics
from ...core.events import Event
from ..throttled import ThrottledLog

# A site of modest size pushes a few events a second: this is half an hour of outage. Beyond it the oldest ephemeral
# event is the one worth least.
MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024


class EventBuffer:
    """A queue of events with room for 10,000 of them or 16 MiB; where it is full the oldest makes place.

    An event counts as pending until it is confirmed, so that a flush can wait for that.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._on_the_wire = 0
        self._unlogged_drops = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Events that were not taken yet."""
        return len(self._events)

    def append(self, event: Event) -> bool:
        """Add an event; False when the process is exiting and nothing leaves any more."""
        dropped = 0
        with self._condition:
            if self._closed:
                return False
            self._events.append(event)
            self._bytes += event.size
            while len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES:
                self._bytes -= self._events.popleft().size
                dropped += 1
            self._unlogged_drops += dropped
        # Nothing is taken while the broker is away, and that is when somebody looks.
        metrics.PUBLISH_WAITING.set(len(self._events))
        if dropped:
            metrics.PUBLISH_DROPPED.labels("buffer_full").inc(dropped)
        return True

    def take(self, count: int) -> list[Event]:
        """Remove up to `count` events, oldest first; each is pending until `done`."""
        with self._condition:
            taken = [self._events.popleft() for _ in range(min(count, len(self._events)))]
            self._bytes -= sum(event.size for event in taken)
            self._on_the_wire += len(taken)
        metrics.PUBLISH_WAITING.set(len(self._events))
        return taken

    def done(self, count: int) -> None:
        """That many of the taken events are settled."""
        with self._condition:
            self._on_the_wire -= count
            if not self._events and not self._on_the_wire:
                self._condition.notify_all()

    def wait_empty(self, timeout_secs: float) -> bool:
        """Wait until nothing is pending."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._events and not self._on_the_wire, timeout_secs)

    def abandon(self) -> int:
        """Take nothing more and forget what is pending; returns how many events that are."""
        with self._condition:
            self._closed = True
            left = len(self._events) + self._on_the_wire
            self._events.clear()
            self._bytes = 0
            return left

    def log_drops(self, log: ThrottledLog) -> None:
        """Say how many events had to make place since the last call."""
        with self._condition:
            dropped, self._unlogged_drops = self._unlogged_drops, 0
        if dropped:
            log.warning(
                "The broker takes no events and the buffer is full: dropped the %d oldest ephemeral ones",
                dropped,
            )
