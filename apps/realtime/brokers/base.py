"""What every broker offers: a publisher for any process, a listener for a node (docs/brokers.md)."""

from collections.abc import Callable
from typing import Protocol

from ..core.events import Event
from ..core.names import Stream

# Called in the node's event loop, before the listener awaits anything: order is kept.
OnEvent = Callable[[Event], None]
# Called in the same loop when a stream flows again after it may not have: what was published meanwhile may be lost.
OnReopened = Callable[[Stream], None]
# Called once for an event, from any thread: whether the broker has it, as far as is known.
Settled = Callable[[Event, bool], None]


def ignore_reopened(stream: Stream) -> None:
    """For who has no use for it."""


class Publisher(Protocol):
    """Takes events from any thread and never makes the caller wait."""

    @property
    def problem(self) -> str | None:
        """Why events do not leave this process now, for the health check; None when they do."""

    def start(self) -> None:
        """Connect ahead of the first event; calling it again does nothing."""

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        """Hand over an event. Where it is dropped, it is counted and logged.

        A durable event is sent again after a broken connection until it is confirmed. `settled` is told the outcome.
        """

    def flush(self, timeout_secs: float) -> bool:
        """Wait until everything handed over has left and was confirmed; False when time ran out."""

    def close(self, timeout_secs: float) -> None:
        """Flush and disconnect."""


class Listener(Protocol):
    """Receives the events of the open streams, in one event loop, through every outage of the broker."""

    @property
    def problem(self) -> str | None:
        """Why events do not arrive now, for the health check; None when they do."""

    def start(self, on_event: OnEvent, on_reopened: OnReopened = ignore_reopened) -> None:
        """Begin in the running loop; returns at once. The stream `all` is open from the start."""

    async def open(self, stream: Stream) -> None:
        """Return when events of the stream arrive. With the broker away, return at once: the stream opens with the
        link. Opening an open stream does nothing."""

    def release(self, stream: Stream) -> None:
        """The stream is not needed any more; returns at once."""

    async def close(self) -> None:
        """Stop receiving and let go of what the broker holds."""
