"""Trims history: the oldest events of a stream, by count and by age (docs/relay.md, "Pruning").

Events go from the bottom only and `floor` rises in the transaction that deletes them, so that what is left of a stream
is always all of (floor, head]. What has no number yet is never touched. A stream's row stays for good: without it the
next event would be number 1 again, in the same epoch.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import takewhile
from typing import Final, NamedTuple

from django.db import connections, transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from .. import metrics
from ..brokers.throttled import ThrottledLog
from ..conf import RealtimeSettings
from ..models import StoredEvent, Stream

logger = logging.getLogger(__name__)

# Streams that one call looks at: four look-ups in an index each, 15 ms for all on PostgreSQL.
STREAMS_A_TURN: Final = 1_000
# Rows that one transaction deletes. It holds the stream's lock, and numbering waits for it: some 10 ms.
ROWS_A_BATCH: Final = 500
# Other work of the relay waits no longer than this and one batch.
TURN_SECS: Final = 0.5


class _Due(NamedTuple):
    """A stream of which something may have to go."""

    name: str
    epoch: str
    head: int
    floor: int
    dead: bool


class _Bottom(NamedTuple):
    """One of the oldest rows of a numbering."""

    id: int
    seq: int
    old: bool
    unconfirmed: bool


class Pruner:
    """Walks over all streams in the order of their names, some in each turn, and begins anew at the end.

    Attributes:
        walked: whether the last turn came to the end of a walk.
    """

    def __init__(self, conf: RealtimeSettings) -> None:
        self._alias = conf.database
        self._max_events = conf.history_max_events
        self._max_age = timedelta(seconds=conf.history_max_age_secs)
        self.walked = False
        # The last stream that was done with.
        self._after = ""
        self._log = ThrottledLog(logger)

    def turn(self) -> bool:
        """Trim the next streams, for half a second at most; True when time ran out.

        Raises:
            django.db.Error: what was trimmed before stays trimmed, the stream in question is as it was.
        """
        until = time.monotonic() + TURN_SECS
        self.walked = False
        streams = Stream.objects.using(self._alias).filter(name__gt=self._after).order_by("name")
        end = streams.values_list("name", flat=True)[STREAMS_A_TURN - 1 : STREAMS_A_TURN].first()
        if end is not None:
            streams = streams.filter(name__lte=end)
        for due in self._due(streams):
            if not (self._trim(due, until) and self._drop_dead(due, until)):
                return True
            self._after = due.name
        self._after = end or ""
        self.walked = end is None
        return False

    def _due(self, streams: QuerySet[Stream]) -> list[_Due]:
        """Those of the streams that have too many events, or an old one at the bottom of a numbering."""

        def oldest(**which: object) -> Subquery:
            events = self._events().filter(stream=OuterRef("name"), **which).order_by("epoch", "seq")
            return Subquery(events.values("created_at")[:1])

        bottoms = streams.annotate(
            oldest=oldest(epoch=OuterRef("epoch"), seq__gt=OuterRef("floor")),
            # An index finds the first of either side at once, whatever lies between.
            oldest_before=oldest(epoch__lt=OuterRef("epoch")),
            oldest_after=oldest(epoch__gt=OuterRef("epoch")),
        )
        before = Now() - self._max_age
        # A comparison with nothing is nothing, neither true nor false.
        dead = Q(oldest_before__isnull=False, oldest_before__lt=before) | Q(
            oldest_after__isnull=False, oldest_after__lt=before
        )
        due = bottoms.annotate(dead=dead).filter(
            Q(head__gt=F("floor") + self._max_events) | Q(oldest__lt=before) | Q(dead=True)
        )
        return [_Due(*row) for row in due.values_list("name", "epoch", "head", "floor", "dead")]

    def _trim(self, due: _Due, until: float) -> bool:
        """Trim the numbering that counts; False when time ran out."""
        events = self._events().filter(stream=due.name, epoch=due.epoch)
        floor = due.floor
        while True:
            bottom = self._bottom(events.filter(seq__gt=floor))
            going = list(takewhile(lambda row: row.old or row.seq <= due.head - self._max_events, bottom))
            if not going:
                return True
            if time.monotonic() > until:
                return False
            with self._transaction():
                if not self._raise_floor(due, floor, going[-1].seq):
                    return True
                events.filter(seq__lte=going[-1].seq).delete()
            self._count(due.name, going)
            floor = going[-1].seq

    def _raise_floor(self, due: _Due, floor: int, to: int) -> bool:
        """Lock the stream as the sequencer does. False where somebody else has it, or has changed it: another turn."""
        streams = Stream.objects.using(self._alias)
        unlocked = streams.filter(name=due.name, epoch=due.epoch, floor=floor).select_for_update(skip_locked=True)
        return streams.filter(name__in=unlocked.values("name")).update(floor=to) == 1

    def _drop_dead(self, due: _Due, until: float) -> bool:
        """Delete what is old of ended numberings; False when time ran out."""
        sides = (Q(epoch__lt=due.epoch), Q(epoch__gt=due.epoch)) if due.dead else ()
        for side in sides:
            dead = self._events().filter(side, stream=due.name)
            while going := list(takewhile(lambda row: row.old, self._bottom(dead))):
                if time.monotonic() > until:
                    return False
                with self._transaction():
                    self._events().filter(id__in=[row.id for row in going]).delete()
                self._count(due.name, going)
        return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with transaction.atomic(using=self._alias):
            if connections[self._alias].vendor == "postgresql":
                # A crash may bring back what was trimmed, whole, and it is trimmed again. Waiting for the disk would
                # take most of the time, with the stream locked.
                with connections[self._alias].cursor() as cursor:
                    cursor.execute("SET LOCAL synchronous_commit = off")
            yield

    def _events(self) -> QuerySet[StoredEvent]:
        return StoredEvent.objects.using(self._alias).filter(seq__isnull=False)

    def _bottom(self, events: QuerySet[StoredEvent]) -> list[_Bottom]:
        rows = events.order_by("epoch", "seq").annotate(
            old=Q(created_at__lt=Now() - self._max_age), unconfirmed=Q(confirmed_at__isnull=True)
        )
        found = rows.values_list("id", "seq", "old", "unconfirmed")[:ROWS_A_BATCH]
        return [_Bottom(id, seq or 0, old, unconfirmed) for id, seq, old, unconfirmed in found]

    def _count(self, name: str, gone: list[_Bottom]) -> None:
        unconfirmed = sum(row.unconfirmed for row in gone)
        metrics.ROWS_PRUNED.labels("yes").inc(len(gone) - unconfirmed)
        metrics.ROWS_PRUNED.labels("no").inc(unconfirmed)
        if unconfirmed:
            self._log.warning("%d events of %s were trimmed before the broker confirmed them", unconfirmed, name)
