"""What waits for the broker in one process, bounded (docs/publishing.md)."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from ... import metrics
from ...core.events import Event
from ...tracing import enabled, step
from ..base import Settled
from ..throttled import ThrottledLog

# A site of modest size publishes a few events a second: this is half an hour of outage. Beyond it the oldest event is
# the one worth least; a durable one is in the database and goes back to the relay.
MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024


class Outgoing(NamedTuple):
    """An event on its way, with whoever is told the outcome."""

    event: Event
    settled: Settled | None

    @property
    def durable(self) -> bool:
        """Whether a second copy does no harm and the database knows of it."""
        return self.event.is_signed

    def settle(self, confirmed: bool) -> None:
        """Tell the outcome. To be called without a lock: it is somebody else's code."""
        if enabled():
            done = "confirmed by the broker" if confirmed else "not confirmed by the broker"
            step(done, self.event.stream, self.event.id, self.event.mid)
        if self.settled is not None:
            self.settled(self.event, confirmed)


class EventBuffer:
    """A queue of events with room for 10,000 of them or 16 MiB; where it is full the oldest makes place.

    An event counts as pending until it is confirmed, so that a flush can wait for that.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._events: deque[Outgoing] = deque()
        self._bytes = 0
        self._on_the_wire = 0
        self._unlogged_drops = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Events that were not taken yet."""
        return len(self._events)

    def append(self, outgoing: Outgoing) -> bool:
        """Add an event; False when the process is exiting and nothing leaves any more."""
        with self._condition:
            accepted = not self._closed
            if accepted:
                self._events.append(outgoing)
                self._bytes += outgoing.event.size
            dropped = self._make_place()
        if not accepted:
            outgoing.settle(False)
        self._tell(dropped)
        return accepted

    def put_back(self, taken: Iterable[Outgoing]) -> None:
        """These were taken and have to leave again, before all others."""
        with self._condition:
            for outgoing in reversed(list(taken)):
                self._events.appendleft(outgoing)
                self._bytes += outgoing.event.size
                self._on_the_wire -= 1
            dropped = self._make_place()
        self._tell(dropped)

    def take(self, count: int) -> list[Outgoing]:
        """Remove up to `count` events, oldest first; each is pending until `done` or put back."""
        with self._condition:
            taken = [self._events.popleft() for _ in range(min(count, len(self._events)))]
            self._bytes -= sum(outgoing.event.size for outgoing in taken)
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
        """Take nothing more and give up what waits; returns how many ephemeral events are lost with that."""
        with self._condition:
            self._closed = True
            left = list(self._events)
            self._events.clear()
            self._bytes = 0
        for outgoing in left:
            outgoing.settle(False)
        return sum(not outgoing.durable for outgoing in left)

    def report(self, log: ThrottledLog) -> None:
        """Say how many wait, and how many had to make place since the last call."""
        # Nothing is taken while the broker is away, and that is when somebody looks.
        metrics.PUBLISH_WAITING.set(len(self._events))
        with self._condition:
            dropped, self._unlogged_drops = self._unlogged_drops, 0
        if dropped:
            log.warning(
                "The broker takes no events and the buffer is full: dropped the %d oldest ephemeral ones",
                dropped,
            )

    def _make_place(self) -> list[Outgoing]:
        dropped = []
        while (self._closed and self._events) or len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES:
            dropped.append(self._events.popleft())
            self._bytes -= dropped[-1].event.size
        return dropped

    def _tell(self, dropped: list[Outgoing]) -> None:
        if not dropped:
            return
        lost = sum(not outgoing.durable for outgoing in dropped)
        if lost:
            metrics.PUBLISH_DROPPED.labels("buffer_full").inc(lost)
            with self._condition:
                self._unlogged_drops += lost
        for outgoing in dropped:
            outgoing.settle(False)
