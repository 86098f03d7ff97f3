"""Tells receivers of notifications that no tab has acknowledged (docs/unseen.md).

A relay does this in a thread of its own: receivers send mail, and nothing else shall wait for that. Any number of
relays may do it at once.
"""

import logging
import threading
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connections, router, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from .. import metrics
from ..conf import RealtimeSettings
from ..inbox.models import UNREAD
from ..models import Acknowledged, InboxItem, InboxMute, StoredEvent, Unseen
from ..models import Stream as StreamRow
from ..unseen.signal import notification_unseen
from .sql import begin_writing

logger = logging.getLogger(__name__)

EVERY_MAX_SECS: Final = 5.0
# Receivers that take longer may be called a second time. A mail server that hangs is given up by most within minutes.
LEASE: Final = timedelta(minutes=10)
# What could not be told for so long is no news any more; the inbox has it.
LATE_MAX: Final = timedelta(days=1)
# What one look returns of the table, and one batch looks at.
LOOK_ROWS: Final = 1_000
BATCH_ROWS: Final = 1_000
# Of a batch, for its receivers.
ITEMS_MAX: Final = 100
# For a receiver that is at work when the relay ends.
EXIT_SECS: Final = 2.0


class UnseenWatch:
    """Does nothing where `REALTIME_UNSEEN_AFTER_SECS` is not set."""

    def __init__(self, conf: RealtimeSettings) -> None:
        self._alias = conf.database
        self._after_secs = conf.unseen_after_secs
        self._stopping = threading.Event()
        # A receiver that hangs keeps no process from ending.
        self._thread = threading.Thread(target=self._run, name="message-flow-unseen", daemon=True)
        self._failing = False
        # Of what is due, the oldest rows that this walk has found nothing to do about.
        self._passed_over = 0

    def start(self) -> None:
        """Begin; to be called once."""
        if self._after_secs is not None:
            self._thread.start()

    def close(self) -> None:
        """End it; a batch that is cut off here comes again when its lease has run out."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(EXIT_SECS)

    def turn(self) -> bool:
        """Tell what is due, a batch for each user; True when there may be more that can be told now.

        The next turn looks at what comes after, and begins anew at the end: users whose stream is locked, or not
        numbered yet, keep it from nobody.

        Raises:
            django.db.Error: what was not told by then is told later.
        """
        if self._after_secs is None:
            return False
        due = self._rows().filter(due_at__lte=Now()).order_by("due_at", "id").values_list("stream", flat=True)
        streams = list(due[self._passed_over : self._passed_over + LOOK_ROWS])
        claimed: set[str] = set()
        for stream in dict.fromkeys(streams):
            if self._stopping.is_set():
                break
            items = self._claim(stream, timedelta(seconds=self._after_secs))
            if items is not None:
                claimed.add(stream)
                self._tell(items)
        is_full = len(streams) == LOOK_ROWS
        # What was claimed is due no more.
        self._passed_over = self._passed_over + sum(stream not in claimed for stream in streams) if is_full else 0
        return is_full and bool(claimed)

    def _run(self) -> None:
        assert self._after_secs is not None
        every_secs = min(EVERY_MAX_SECS, self._after_secs / 4)
        more = False
        while not self._stopping.wait(0 if more else every_secs):
            more = self._try_turn()
        connections.close_all()

    def _try_turn(self) -> bool:
        try:
            more = self.turn()
        except Exception as error:
            if not self._failing:
                reason = " ".join(str(error).split())  # PostgreSQL's have several lines
                logger.warning("Unseen notifications wait: %s: %s. Trying again", type(error).__name__, reason)
            self._failing = True
            connections.close_all()
            return False
        if self._failing:
            self._failing = False
            logger.info("Unseen notifications are told again")
        return more

    def _claim(self, stream: str, after: timedelta) -> list[InboxItem] | None:
        """The due items of a user that nobody has seen, newest first and leased. What else is due is done with.

        None: the stream has no number yet, or somebody else has its lock.
        """
        with transaction.atomic(using=self._alias):
            begin_writing(self._alias)
            # The lock of the numbering, for some milliseconds: of two relays one gets all that is due of the user.
            locked = StreamRow.objects.using(self._alias).filter(name=stream).select_for_update(skip_locked=True)
            found = list(locked.annotate(now=Now()))
            if not found:
                return None
            [row] = found
            now = row.now
            waiting = self._rows().filter(stream=stream)
            due = waiting.filter(due_at__lte=now)
            mids = list(due.order_by("-id").values_list("mid", flat=True)[:BATCH_ROWS])
            items = self._unseen(row, mids, after)
            # What comes due soon waits for the next batch: there is one in this time at most.
            waiting.filter(due_at__gt=now, due_at__lt=now + after).update(due_at=now + after)
            due.filter(mid__in=[item.mid for item in items]).update(due_at=now + LEASE)
            # Not what was leased.
            due.delete()
        return items

    def _unseen(self, row: StreamRow, mids: list[str], after: timedelta) -> list[InboxItem]:
        muted = InboxMute.objects.using(self._alias).filter(stream=row.name).values("event_id")
        items = (
            InboxItem.objects.using(self._alias)
            .filter(UNREAD, stream=row.name, mid__in=mids, created_at__gt=Now() - after - LATE_MAX)
            .exclude(event_id__in=muted)
            .order_by("-id")
        )
        unacknowledged = self._unacknowledged(row, mids)
        return [item for item in items if unacknowledged is None or item.mid in unacknowledged]

    def _unacknowledged(self, row: StreamRow, mids: list[str]) -> set[str] | None:
        """Those whose events lie behind what the user's tabs have acknowledged; None for all of them.

        Only these events are read, not what came before.
        """
        acknowledged = Acknowledged.objects.using(self._alias).filter(stream=row.name, epoch=row.epoch).first()
        # Without events to look at, what lies behind cannot be told from what lies before.
        if acknowledged is None or acknowledged.seq < row.floor:
            return None
        events = StoredEvent.objects.using(self._alias).filter(stream=row.name, mid__in=mids)
        behind = events.filter(epoch=row.epoch, seq__gt=acknowledged.seq).values_list("mid", flat=True)
        unnumbered = events.filter(seq__isnull=True).values_list("mid", flat=True)
        return {*behind, *unnumbered}

    def _tell(self, items: list[InboxItem]) -> None:
        if not items:
            return
        user = _active_user(items[0].user_id)
        if user is not None:
            answers = notification_unseen.send_robust(
                sender=InboxItem, user=user, items=items[:ITEMS_MAX], count=len(items)
            )
            if answers and all(isinstance(answer, Exception) for _, answer in answers):
                metrics.UNSEEN.labels("failed").inc()
                return
            metrics.UNSEEN.labels("told").inc()
        self._rows().filter(stream=items[0].stream, mid__in=[item.mid for item in items]).delete()

    def _rows(self) -> QuerySet[Unseen]:
        return Unseen.objects.using(self._alias)


def _active_user(user_id: str) -> Any | None:
    """None for one who is gone or may not sign in."""
    model = get_user_model()
    try:
        key = model._meta.pk.to_python(user_id)
    except ValidationError:
        return None
    user = model._base_manager.using(router.db_for_write(model)).filter(pk=key).first()
    return user if user is not None and user.is_active else None
