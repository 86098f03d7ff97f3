"""Takes committed rows out of the request: numbers and publishes them in a thread (docs/publishing.md).

The rows are the truth. Whatever this thread does not get done, because its process dies or its database or broker is
away, the relay finds.
"""

import atexit
import logging
import multiprocessing.util
import os
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Final

from django.db import connections

from ..brokers.base import Publisher
from ..brokers.rabbitmq.backoff import Backoff
from ..conf import realtime_settings
from ..core.events import Event
from ..core.names import Stream
from .sequencer import STREAMS_MAX, number
from .settlement import Place, confirm, release

logger = logging.getLogger(__name__)

# Outcomes that are written down together: at the latest after so long, or when there are so many.
_SETTLE_EVERY_SECS: Final = 0.1
_SETTLE_EVENTS: Final = 1_000
# Then the connection is closed: DROP DATABASE on PostgreSQL waits up to 5 s for others to leave, which lets a test run
# drop its database after the last test that notified.
_IDLE_SECS: Final = 1.0
# After so long without a database what is known here is forgotten; the relay finds the rows.
_GIVE_UP_SECS: Final = 60.0
# At the exit: this long to get everything confirmed, then the rest of two seconds to let go of it.
_EXIT_FLUSH_SECS: Final = 1.3
_EXIT_RELEASE_SECS: Final = 0.5
# A fork waits for this long until nothing here is connected. SQLite keeps its locks in memory too: a child that gets a
# copy of a connection in a transaction is locked out of the file for good.
_FORK_SECS: Final = 2.0


class Outbox:
    """The outbox of one process. Its thread starts with the first committed event, in the process that commits it."""

    _lock: threading.Lock
    # None until the first event.
    _worker: "_Worker | None"

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._reset()
        this = weakref.ref(self)
        os.register_at_fork(
            before=lambda: _rest_if_alive(this),
            after_in_parent=lambda: _go_on_if_alive(this),
            after_in_child=lambda: _reset_if_alive(this),
        )
        # Registered after the publisher's, so it runs before it.
        atexit.register(_close_if_alive, this)

    def wake(self, streams: Iterable[Stream]) -> None:
        """Rows of these streams have been committed; returns at once, from any thread."""
        (self._worker or self._started()).wake(streams)

    def flush(self, timeout_secs: float) -> bool:
        """Wait until everything committed so far is numbered and its outcome written down; False when time ran out."""
        return self._worker is None or self._worker.wait_done(timeout_secs)

    def close(self) -> None:
        """Finish within two seconds; what is not confirmed by then goes to the relay."""
        worker = self._worker
        if worker is None:
            return
        if not worker.wait_done(_EXIT_FLUSH_SECS):
            # With this the publisher lets go of what it holds, so that nothing is sent after it was released.
            self._publisher.close(0)
            worker.let_go()
            worker.wait_done(_EXIT_RELEASE_SECS)
        self._worker = None
        worker.stop()

    def _rest(self) -> None:
        worker = self._worker
        if worker is not None and not worker.rest(_FORK_SECS):
            logger.warning("A process forks while the outbox is connected to its database")

    def _go_on(self) -> None:
        if self._worker is not None:
            self._worker.go_on()

    def _reset(self) -> None:
        # After a fork the thread and its work belong to the parent alone.
        self._lock = threading.Lock()
        self._worker = None

    def _started(self) -> "_Worker":
        with self._lock:
            if self._worker is None:
                self._worker = _Worker(self._publisher)
                self._worker.start()
                # Children of multiprocessing end without atexit. A higher priority than the publisher's: before it.
                multiprocessing.util.Finalize(None, _close_if_alive, (weakref.ref(self),), exitpriority=20)
            return self._worker


def _rest_if_alive(reference: "weakref.ref[Outbox]") -> None:
    outbox = reference()
    if outbox is not None:
        outbox._rest()


def _go_on_if_alive(reference: "weakref.ref[Outbox]") -> None:
    outbox = reference()
    if outbox is not None:
        outbox._go_on()


def _reset_if_alive(reference: "weakref.ref[Outbox]") -> None:
    outbox = reference()
    if outbox is not None:
        outbox._reset()


def _close_if_alive(reference: "weakref.ref[Outbox]") -> None:
    outbox = reference()
    if outbox is not None:
        outbox.close()


class _Worker(threading.Thread):
    """The thread, with a database connection of its own.

    `_changed` guards what it shares with those who wake it and with the publisher, which tells outcomes. It is never
    held while the publisher or the database is called.
    """

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(name="message-flow-outbox", daemon=True)
        self._publisher = publisher
        self._backoff = Backoff()
        self._failing_since: float | None = None
        self._changed = threading.Condition()
        # Rows of these streams may wait for a number; longest first.
        self._streams: dict[Stream, None] = {}
        # The same, of which some rows were just numbered: after all others, so that a long backlog holds up nobody.
        self._served: dict[Stream, None] = {}
        # Given to the publisher, which has not told the outcome yet.
        self._published: set[Place] = set()
        # Outcomes that are not written down yet.
        self._outcomes: dict[Place, bool] = {}
        self._working = False
        self._stopping = False
        self._connected = False
        # Forks that are under way.
        self._forks = 0

    def wake(self, streams: Iterable[Stream]) -> None:
        with self._changed:
            self._streams.update(dict.fromkeys(stream for stream in streams if stream not in self._served))
            self._changed.notify_all()

    def wait_done(self, timeout_secs: float) -> bool:
        def done() -> bool:
            return not (self._working or self._streams or self._served or self._published or self._outcomes)

        with self._changed:
            return self._changed.wait_for(done, timeout_secs)

    def let_go(self) -> None:
        """Wait no longer for outcomes: nothing of it is confirmed."""
        with self._changed:
            self._outcomes.update(dict.fromkeys(self._published, False))
            self._published.clear()
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def rest(self, timeout_secs: float) -> bool:
        """Disconnect and do nothing until `go_on`; False when time ran out."""
        with self._changed:
            self._forks += 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._connected, timeout_secs)

    def go_on(self) -> None:
        """The fork is over."""
        with self._changed:
            # One that began before there was anything to rest has not been counted.
            self._forks = max(0, self._forks - 1)
            self._changed.notify_all()

    def run(self) -> None:
        while not self._stopping:
            streams, outcomes = self._next_work()
            if not streams and not outcomes:
                self._disconnect()
                continue
            try:
                self._publish(streams)
                self._write_down(outcomes)
            except Exception as error:
                self._failed(error, streams, outcomes)
            else:
                self._succeeded()
        self._disconnect()

    def _next_work(self) -> tuple[list[Stream], dict[Place, bool]]:
        """Wait for something to do and take it; nothing when it is time to disconnect."""
        with self._changed:
            self._working = False
            self._changed.notify_all()
            while self._forks or not (self._stopping or self._streams or self._served or self._is_time_to_settle()):
                if self._forks and self._connected:
                    return [], {}
                idle_secs = _IDLE_SECS if self._connected else None
                settle = self._outcomes and not self._forks
                # A fork may have begun as the time ran out.
                if not self._changed.wait(_SETTLE_EVERY_SECS if settle else idle_secs) and not self._forks:
                    break
            self._working = True
            waiting = self._streams or self._served
            streams = list(waiting)[:STREAMS_MAX]
            for stream in streams:
                del waiting[stream]
            outcomes, self._outcomes = self._outcomes, {}
            self._connected = self._connected or bool(streams or outcomes)
            return streams, outcomes

    def _is_time_to_settle(self) -> bool:
        return len(self._outcomes) >= _SETTLE_EVENTS or bool(self._outcomes and not self._published)

    def _publish(self, streams: list[Stream]) -> None:
        events = number(streams) if streams else []
        if not events:
            return
        with self._changed:
            # There may be more.
            self._streams.update(dict.fromkeys(streams))
            for event in events:
                self._streams.pop(event.stream, None)
                self._served[event.stream] = None
            self._published.update(map(Place.of, events))
        for event in events:
            self._publisher.publish(event, self._settled)

    def _settled(self, event: Event, confirmed: bool) -> None:
        place = Place.of(event)
        with self._changed:
            # Not there: it was let go of.
            if place in self._published:
                self._published.remove(place)
                self._outcomes[place] = confirmed
                if len(self._outcomes) == 1 or self._is_time_to_settle():
                    self._changed.notify_all()

    def _write_down(self, outcomes: dict[Place, bool]) -> None:
        confirm(place for place, confirmed in outcomes.items() if confirmed)
        release(place for place, confirmed in outcomes.items() if not confirmed)

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            logger.info("The outbox has its database again")
        self._failing_since = None
        self._backoff.reset()

    def _failed(self, error: Exception, streams: list[Stream], outcomes: dict[Place, bool]) -> None:
        self._disconnect()
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            reason = " ".join(str(error).split())  # PostgreSQL's have several lines
            logger.warning("Committed events wait: %s: %s. Trying again", type(error).__name__, reason)
        with self._changed:
            if now - self._failing_since > _GIVE_UP_SECS:
                self._streams.clear()
                self._served.clear()
                self._outcomes.clear()
                self._failing_since = None
                logger.warning("The outbox leaves what waits to the relay")
                return
            self._streams.update(dict.fromkeys(streams))
            self._outcomes = outcomes | self._outcomes
            self._changed.wait_for(lambda: self._stopping, self._backoff.next_secs())

    def _disconnect(self) -> None:
        try:
            connections[realtime_settings().database].close()
        except Exception:
            logger.debug("Closing the outbox's connection failed", exc_info=True)
        with self._changed:
            self._connected = False
            self._changed.notify_all()
