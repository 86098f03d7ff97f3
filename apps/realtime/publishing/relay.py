"""Brings to its end what other processes have left: fires, numbers, publishes, trims (docs/relay.md).

A process may die between any two steps of a durable event's way, and a broker may be away for longer than anybody
waits. The row is there in any case, and the relay finds it. Any number of relays may run at once; one is enough.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from django.db import Error, connections, transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from .. import metrics
from ..brokers.base import Publisher
from ..brokers.rabbitmq.backoff import Backoff
from ..conf import RealtimeSettings
from ..core.events import Event, numbered
from ..core.names import Stream
from ..core.parts import parts
from ..models import StoredEvent
from ..models import Stream as StreamRow
from .asking import forget_old
from .backlog import measure
from .inbox_retention import InboxPruner
from .retention import Pruner
from .scheduled import fire_due, forget_set_aside
from .sequencer import number
from .settlement import Place, confirm, release
from .sql import begin_writing
from .unseen import UnseenWatch

logger = logging.getLogger(__name__)

EVERY_SECS: Final = 1.0
# Between two looks at what nodes were asked, and what was set aside.
FORGET_EVERY_SECS: Final = 60.0
# A process that lives has numbered its events after some milliseconds.
ABANDONED_AFTER: Final = timedelta(seconds=2)
# What one look at the table returns of it, however much waits there.
LOOK_ROWS: Final = 5_000
# Streams that one transaction numbers, or takes the newest event of: frames of 256 KiB each are in memory then.
STREAMS_A_BATCH: Final = 200
# Handed to the publisher and not answered yet: below its own bounds, so that it never has to drop one.
MAX_IN_FLIGHT: Final = 2_000
# Prometheus asks every 15 s.
MEASURE_EVERY_SECS: Final = 5.0
# For the outcome of what is on the wire when the process ends.
EXIT_SECS: Final = 2.0

T = TypeVar("T")


class Relay:
    """One loop; it owns the database connection of the thread that it runs in.

    `alive` is called before each step, every few seconds at least, for as long as the loop turns.

    Attributes:
        problem: why the last turn failed; None when it did not.
    """

    def __init__(
        self,
        conf: RealtimeSettings,
        publisher: Publisher,
        *,
        every_secs: float = EVERY_SECS,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem: str | None = None
        self._alive = alive
        self._alias = conf.database
        self._max_age = timedelta(seconds=conf.history_max_age_secs)
        self._lease = timedelta(seconds=conf.lease_secs)
        self._publisher = publisher
        self._every_secs = every_secs
        self._pruner = Pruner(conf)
        self._inbox_pruner = InboxPruner(conf)
        self._unseen = UnseenWatch(conf)
        self._prune_at = 0.0
        self._measure_at = 0.0
        self._forget_at = 0.0
        self._backoff = Backoff()
        self._stopping = False
        # Put by the publisher's thread; None comes from `stop`.
        self._answers: SimpleQueue[tuple[Event, bool] | None] = SimpleQueue()
        self._outcomes: list[tuple[Event, bool]] = []
        # With the publisher; each until its outcome is in the database.
        self._in_flight: set[Event] = set()

    def run(self) -> None:
        """Work until `stop`, through every outage."""
        self._publisher.start()
        self._unseen.start()
        try:
            while not self._stopping:
                more = self._turn()
                if self.problem is not None:
                    self._wait(self._backoff.next_secs())
                else:
                    self._backoff.reset()
                    self._wait(self._every_secs, more=more)
        finally:
            self._unseen.close()
            self._finish()

    def run_once(self, within_secs: float) -> str | None:
        """Work until nothing is left to do; returns why something is left, None when all is done."""
        deadline = time.monotonic() + within_secs
        walked = False
        self._publisher.start()
        try:
            while time.monotonic() < deadline and not self._stopping:
                self._prune_at = 0.0
                more = self._turn()
                walked = walked or self._pruner.walked
                if self.problem is None and walked and not (more or self._in_flight):
                    return self._tell_unseen(deadline)
                self._wait(0.1, more=more)
            return self.problem or self._publisher.problem or f"it took longer than {within_secs:.0f} s"
        finally:
            self._finish()

    def _tell_unseen(self, deadline: float) -> str | None:
        """Tell what is due of unseen notifications; returns why some are left, None when none is that can be told."""
        try:
            while self._unseen.turn():
                self._alive()
                if self._stopping or time.monotonic() > deadline:
                    return "some unseen notifications are not told"
        except Error as error:
            return f"unseen notifications: {type(error).__name__}: {error}"
        return None

    def stop(self) -> None:
        """End `run` soon; from any thread, or a signal handler."""
        self._stopping = True
        self._answers.put(None)

    def _turn(self) -> bool:
        """Do some of everything; True when there is more to do at once."""
        more = False
        failed: str | None = None
        # A step that fails keeps none of the others: one stream that is locked is no reason to forget the rest.
        for step in (self._settle, fire_due, self._number, self._take, self._prune, self._measure, self._forget):
            self._alive()
            try:
                more = step() or more
            except Exception as error:
                failed = failed or " ".join(f"{type(error).__name__}: {error}".split())[:200]
                logger.debug("A step of the relay failed", exc_info=True)
                # Users may live in another database.
                connections.close_all()
        if failed is not None and self.problem is None:
            logger.warning("The relay is stuck: %s. Trying again", failed)
        elif failed is None and self.problem is not None:
            logger.info("The relay works again")
        self.problem = failed
        if failed is None:
            metrics.RELAY_TURNED_AT.set_to_current_time()
        return more

    # Outcomes ------------------------------------------------------------------------------------

    def _publish(self, events: Iterable[Event]) -> None:
        for event in events:
            self._in_flight.add(event)
            self._publisher.publish(event, self._settled)

    def _settled(self, event: Event, confirmed: bool) -> None:
        self._answers.put((event, confirmed))

    def _wait(self, secs: float, *, more: bool = False) -> None:
        """Gather outcomes for that long; with more to do, only until there is room in flight."""
        deadline = time.monotonic() + secs
        while not self._stopping:
            room = len(self._in_flight) - len(self._outcomes) <= MAX_IN_FLIGHT // 2
            try:
                answer = self._answers.get(timeout=0 if more and room else max(0.0, deadline - time.monotonic()))
            except Empty:
                return
            if answer is not None:
                self._outcomes.append(answer)

    def _settle(self) -> bool:
        """Write down what became of the events that were published."""
        confirmed = [event for event, outcome in self._outcomes if outcome]
        confirm(map(Place.of, confirmed))
        release(Place.of(event) for event, outcome in self._outcomes if not outcome)
        # Whoever has a later event knows that the earlier ones exist: nobody needs them published any more.
        last: dict[tuple[Stream, str], int] = defaultdict(int)
        for event in confirmed:
            last[event.stream, event.epoch] = max(last[event.stream, event.epoch], event.seq)
        for part in parts(list(last.items()), STREAMS_A_BATCH):
            earlier = [Q(stream=stream, epoch=epoch, seq__lt=seq) for (stream, epoch), seq in part]
            self._update(_unleased() & _any(earlier), confirmed_at=Now())
        self._in_flight.difference_update(event for event, _ in self._outcomes)
        self._outcomes.clear()
        return False

    # Finding work --------------------------------------------------------------------------------

    def _number(self) -> bool:
        """Number and publish what has waited for too long."""
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            return True
        waiting = self._events().filter(seq__isnull=True, created_at__lt=Now() - ABANDONED_AFTER)
        names = dict.fromkeys(map(Stream, waiting.values_list("stream", flat=True)[:LOOK_ROWS]))
        if not names:
            return False
        events = number(list(names)[:STREAMS_A_BATCH])
        if self._publisher.problem is None:
            self._publish(events)
        else:
            # Once the broker is back, the newest of each stream is enough.
            release(map(Place.of, events))
        return len(events) > 0

    def _take(self) -> bool:
        """Publish the newest of the unconfirmed events of each stream, where nobody is at it."""
        # A broker that is away gets one event, which waits for it: that one's outcome says when to go on.
        room = (MAX_IN_FLIGHT if self._publisher.problem is None else 1) - len(self._in_flight)
        if room <= 0:
            return self._publisher.problem is None
        busy = {event.stream for event in self._in_flight}
        due = self._unconfirmed(_unleased()).values_list("stream", "epoch")[:LOOK_ROWS]
        numberings = [numbering for numbering in dict.fromkeys(due) if numbering[0] not in busy]
        if not numberings:
            return False
        batch = numberings[: min(room, STREAMS_A_BATCH)]
        streams = StreamRow.objects.using(self._alias).filter(name__in={name for name, _ in batch})
        epochs = dict(streams.values_list("name", "epoch"))
        ended = [Q(stream=name, epoch=epoch) for name, epoch in batch if epochs.get(name) != epoch]
        if ended:
            # Nobody may see them any more.
            self._update(_unleased() & _any(ended), confirmed_at=Now())
        self._publish(self._lease_newest(streams))
        return len(numberings) > len(batch) and self._publisher.problem is None

    def _lease_newest(self, streams: QuerySet[StreamRow]) -> list[Event]:
        newest = self._unconfirmed(_unleased(), stream=OuterRef("name"), epoch=OuterRef("epoch")).order_by("-seq")
        with transaction.atomic(using=self._alias):
            begin_writing(self._alias)
            ids = streams.values_list(Subquery(newest.values("id")[:1]), flat=True)
            free = self._unconfirmed(_unleased(), id__in=[id for id in ids if id is not None])
            taken = list(free.select_for_update(skip_locked=True))
            self._events().filter(id__in=[row.id for row in taken]).update(leased_until=Now() + self._lease)
        return [_event(row) for row in taken]

    def _prune(self) -> bool:
        if time.monotonic() < self._prune_at:
            return False
        # Both: a backlog of one keeps nothing from the other.
        more = [self._pruner.turn(), self._inbox_pruner.turn()]
        if any(more):
            return True
        self._prune_at = time.monotonic() + EVERY_SECS
        return False

    def _measure(self) -> bool:
        if time.monotonic() >= self._measure_at:
            measure(self._alias)
            self._measure_at = time.monotonic() + MEASURE_EVERY_SECS
        return False

    def _forget(self) -> bool:
        if time.monotonic() >= self._forget_at:
            forget_old()
            forget_set_aside(self._max_age)
            self._forget_at = time.monotonic() + FORGET_EVERY_SECS
        return False

    # The table -----------------------------------------------------------------------------------

    def _events(self) -> QuerySet[StoredEvent]:
        return StoredEvent.objects.using(self._alias)

    def _unconfirmed(self, *which: Q, **more: object) -> QuerySet[StoredEvent]:
        return self._events().filter(*which, seq__isnull=False, confirmed_at__isnull=True, **more)

    def _update(self, which: Q, **values: object) -> None:
        """Rows that somebody else is writing are left out: the relay never waits for them, nor they for each other."""
        with transaction.atomic(using=self._alias):
            free = self._unconfirmed(which).select_for_update(skip_locked=True)
            self._events().filter(id__in=free.values("id")).update(**values)

    def _finish(self) -> None:
        try:
            deadline = time.monotonic() + EXIT_SECS
            while len(self._outcomes) < len(self._in_flight):
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
                if answer is not None:
                    self._outcomes.append(answer)
        except Empty:
            logger.info("%d events were not confirmed before the exit", len(self._in_flight) - len(self._outcomes))
        try:
            self._settle()
        except Exception:
            logger.debug("The last outcomes are lost; the leases run out", exc_info=True)
        connections.close_all()


class EmbeddedRelay:
    """The relay of a server that has the in-process broker: nobody starts a second program on a laptop."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        # The process may end without asking, under runserver's reloader for one.
        self._thread = threading.Thread(target=relay.run, name="message-flow-relay", daemon=True)

    def start(self) -> None:
        """Begin; to be called once."""
        self._thread.start()

    def close(self) -> None:
        """End it, and wait for that."""
        self._relay.stop()
        self._thread.join(EXIT_SECS * 2)


def _unleased() -> Q:
    return Q(leased_until__isnull=True) | Q(leased_until__lt=Now())


def _event(row: StoredEvent) -> Event:
    assert row.epoch is not None
    assert row.seq is not None
    return numbered(Stream(row.stream), row.event_id, row.frame, row.mid, row.epoch, row.seq, row.unread)


def _any(which: Iterable[Q]) -> Q:
    return Q(*which, _connector=Q.OR)
