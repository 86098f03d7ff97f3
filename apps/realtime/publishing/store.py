"""Stores durable events in the transaction of whoever tells them (docs/publishing.md)."""

import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from django.db import connections, transaction

from ..conf import realtime_settings
from ..core.events import SEQ_MAX_BYTES, Event, EventTemplate
from ..core.names import Stream
from .process import publishing_process
from .targets import Target

# Rows of one INSERT; more make it no quicker, and SQLite takes a limited number of parameters.
_ROWS_PER_INSERT: Final = 200


def store(template: EventTemplate, targets: Sequence[Target]) -> None:
    """Store one event for each target, now: as rows of the transaction that the caller is in, in REALTIME_DATABASE.

    They leave after its commit. It inserts rows and locks none, so that no transaction waits for another one here.

    Raises:
        BadEvent: with the name of its stream the event is too large.
        django.db.Error: the rows cannot be stored.
    """
    if not targets:
        return
    alias = realtime_settings().database
    now = time.time()
    events = [
        template.for_stream(target.stream, mid=uuid4().hex, ts=now, room_bytes=SEQ_MAX_BYTES) for target in targets
    ]
    # Without a savepoint, as Django's bulk_create: an error leaves the caller's transaction to be rolled back.
    with transaction.atomic(using=alias, savepoint=False):
        _insert(alias, events)
        streams = [target.stream for target in targets]
        transaction.on_commit(lambda: _wake(alias, streams), using=alias, robust=True)


def _insert(alias: str, events: list[Event]) -> None:
    # 10,000 rows take a quarter of a second of CPU this way and a whole one as model objects. `created_at` is set by
    # the database.
    from .sql import TABLES

    with connections[alias].cursor() as cursor:
        for start in range(0, len(events), _ROWS_PER_INSERT):
            part = events[start : start + _ROWS_PER_INSERT]
            cursor.execute(
                f"INSERT INTO {TABLES.event} (stream, mid, event_id, frame) "  # noqa: S608 - no name but ours
                f"VALUES {', '.join(['(%s, %s, %s, %s)'] * len(part))}",
                [value for event in part for value in (event.stream, event.mid, event.id, event.frame)],
            )


def _wake(alias: str, streams: list[Stream]) -> None:
    publishing_process().committed(alias, streams)
