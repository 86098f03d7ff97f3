"""`notify(…, at=)`: events that are stored now and leave later (docs/scheduled.md).

The call checks and encodes everything and stores one row. When its time has come, a relay makes event rows of it, as
`notify` does, and deletes it in the same transaction: whatever crashes, it was fired once or not yet.
"""

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DataError, Error, connections, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.asyncio import async_unsafe
from django.utils.timezone import is_aware, make_naive

from .. import metrics
from ..conf import realtime_settings
from ..core.errors import BadEvent
from ..core.events import SEQ_MAX_BYTES, EventTemplate
from ..core.names import Stream
from ..tracing import new_mid
from .store import store
from .targets import Target, remaining

if TYPE_CHECKING:
    from ..models import ScheduledEvent

logger = logging.getLogger(__name__)

# What one transaction fires: it holds its locks for half a second and one event. Of 100 most of the time is not the
# commit's any more.
ROWS_A_BATCH: Final = 100
BATCH_SECS: Final = 0.5


def schedule(at: object, template: EventTemplate, targets: list[Target]) -> str:
    """Have the event stored for the targets at that time; returns the handle for `cancel_scheduled`.

    Raises:
        BadEvent: no time, or one without a time zone; an event that is too large with the name of its stream.
        django.db.Error: the row cannot be stored.
    """
    due_at = stored_time(at)
    if targets:
        longest = max((target.stream for target in targets), key=len)
        template.for_stream(longest, mid=new_mid(), ts=time.time(), room_bytes=SEQ_MAX_BYTES)
    row = _rows().create(
        handle=uuid4().hex,
        due_at=due_at,
        event_id=template.event_id,
        data=template.data,
        title=template.title,
        url=template.url,
        group=template.group,
        targets=targets,
    )
    return row.handle


@async_unsafe("cancel_scheduled() uses the database. In async code, call `await acancel_scheduled(…)` instead.")
def cancel_scheduled(handle: str) -> bool:
    """Take back what `notify(…, at=)` returned this handle for; False where that was fired, cancelled or never there.

    It belongs to the transaction that the caller is in: after a rollback the event is still scheduled. While a relay is
    firing this very event the call waits for it, some milliseconds.

    Raises:
        django.db.Error: it cannot be said; to be called again.
    """
    # A zero byte, which PostgreSQL refuses, is in no handle.
    return handle.isalnum() and _rows().filter(handle=handle).delete()[0] == 1


async def acancel_scheduled(handle: str) -> bool:
    """`cancel_scheduled` for async code."""
    return await sync_to_async(cancel_scheduled)(handle)


def fire_due() -> bool:
    """Store the events that are due, by the database's clock; True when there is more to do at once.

    What somebody else is firing or cancelling is left to them. One that cannot be stored, now or ever, is set aside.

    Raises:
        RuntimeError: the database has refused one, which stays; the others are stored.
        django.db.Error: the database gave no answer; nothing has changed.
    """
    # It uses the models, as `_rows`.
    from .sql import begin_writing

    late_secs = _late_secs()
    metrics.SCHEDULED_LATE.set(late_secs or 0)
    if late_secs is None:
        return False
    alias = realtime_settings().database
    until = time.monotonic() + BATCH_SECS
    looked_at = 0
    refusal: Error | None = None
    set_aside: dict[int, Exception] = {}
    with transaction.atomic(using=alias, durable=True):
        begin_writing(alias)
        due = list(_due().select_for_update(skip_locked=True)[:ROWS_A_BATCH])
        for row in due:
            if looked_at and time.monotonic() > until:
                break
            looked_at += 1
            try:
                with transaction.atomic(using=alias):
                    _fire(row)
            except Exception as error:
                # A value that the database does not take will not change; whatever else it says may have passed soon.
                if isinstance(error, Error) and not isinstance(error, DataError):
                    refusal = refusal or error
                else:
                    set_aside[row.pk] = error
        if set_aside:
            _rows().filter(pk__in=set_aside).update(failed_at=Now())
    for pk, reason in set_aside.items():
        logger.error("The scheduled event %d cannot be stored and is set aside: %r", pk, reason)
    metrics.SCHEDULED_FAILED.inc(len(set_aside))
    if refusal is not None:
        raise RuntimeError(f"a scheduled event cannot be stored: {refusal!r}") from refusal
    return looked_at < len(due) or len(due) == ROWS_A_BATCH


def forget_set_aside(max_age: timedelta) -> None:
    """Delete what was set aside longer ago than that.

    Raises:
        django.db.Error: nothing has changed.
    """
    _rows().filter(failed_at__lt=Now() - max_age).delete()


def _fire(row: "ScheduledEvent") -> None:
    targets = [Target(Stream(stream), user_id) for stream, user_id in row.targets]
    left = remaining(targets)
    if len(left) < len(targets):
        logger.info("The scheduled event %s skips %d users who are gone", row.pk, len(targets) - len(left))
    store(EventTemplate(row.event_id, row.data, _Encoded, title=row.title, url=row.url, group=row.group), left)
    row.delete()


class _Encoded(json.JSONEncoder):
    """For data that is JSON already."""

    def encode(self, o: str) -> str:
        return o


def _late_secs() -> float | None:
    """How long ago the oldest one was due; None when nothing is due."""
    oldest = _due().values_list("due_at", Now()).first()
    return None if oldest is None else (oldest[1] - oldest[0]).total_seconds()


def _due() -> "QuerySet[ScheduledEvent]":
    return _rows().filter(failed_at__isnull=True, due_at__lte=Now()).order_by("due_at", "id")


def _rows() -> "QuerySet[ScheduledEvent]":
    # There are no models while Django starts, and this module is part of the public API.
    from ..models import ScheduledEvent

    return ScheduledEvent.objects.using(realtime_settings().database)


def stored_time(at: object) -> datetime:
    """The time as the column `due_at` takes it.

    Raises:
        BadEvent: no time, or one without a time zone.
    """
    try:
        if isinstance(at, datetime) and is_aware(at):
            utc = at.astimezone(UTC)
            on_sqlite = connections[realtime_settings().database].vendor == "sqlite"
            # Its clock is UTC, and without USE_TZ it refuses every time with a zone.
            return make_naive(utc, UTC) if on_sqlite and not settings.USE_TZ else utc
    except OverflowError:
        pass
    raise BadEvent(f"at={at!r}: pass a datetime with a time zone, such as timezone.now() + timedelta(hours=1)")
