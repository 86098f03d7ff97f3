"""Gives committed rows their places in their streams (docs/history.md).

Any number of processes may do it at once. Whoever numbers a stream holds its row until the commit, so each seq is given
once and none is left out; the rows that wait are read in a statement of its own after the lock, so those of the process
that held it before are seen.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, F, OuterRef

from .. import metrics
from ..conf import realtime_settings
from ..core.events import Event, numbered
from ..core.names import Stream
from ..core.parts import parts
from ..history import deployment_epoch
from ..models import Deployment, StoredEvent
from ..models import Stream as StreamRow
from ..tracing import enabled, step
from .sql import TABLES, now_plus, now_sql, values
from .unread import Change, counted

# What one transaction does, so that it holds its locks for milliseconds and its memory has a bound.
STREAMS_MAX: Final = 400
ROWS_MAX: Final = 500
CHARS_MAX: Final = 8 * 1024 * 1024
# PostgreSQL ends a numbering that stands still. A node looks for changes of the last 60 s beside its interval: no
# commit may come later than that after the time of change that it brings.
_LIMITS: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
    "SET LOCAL lock_timeout = '10s'; "
    "SET LOCAL statement_timeout = '20s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '20s'"
)


def number(streams: Iterable[Stream]) -> list[Event]:
    """Number what waits in the streams, lease it to the caller, and return it in order, ready to be published.

    One call does a bounded piece of the work: call it again with the same streams until it returns nothing. It must not
    be called in a transaction, because only committed numbers may be published.

    Raises:
        django.db.Error: the database gave no answer; nothing has changed.
    """
    connection = connections[realtime_settings().database]
    names = sorted(set(streams))
    for part in parts(names, STREAMS_MAX):
        waiting = _waiting(connection, part)
        if not waiting:
            continue
        _create([name for name, exists in waiting if not exists])
        events = _number(connection, [name for name, _ in waiting])
        if events:
            metrics.NUMBERED.inc(len(events))
            if enabled():
                for event in events:
                    step(f"numbered {event.seq}", event.stream, event.id, event.mid)
            return events
    return []


def _waiting(connection: BaseDatabaseWrapper, names: Sequence[Stream]) -> list[tuple[str, bool]]:
    """Which of the streams have rows that wait, each with whether it has a row of its own."""
    unnumbered = StoredEvent.objects.using(connection.alias).filter(stream__in=names, seq=None)
    exists = Exists(StreamRow.objects.filter(name=OuterRef("stream")))
    return sorted(unnumbered.order_by().annotate(exists=exists).values_list("stream", "exists").distinct())


def _create(names: list[str]) -> None:
    """Add the rows of streams that are new, in the numbering of the deployment."""
    if not names:
        return
    alias = realtime_settings().database
    deployment_epoch()
    with transaction.atomic(using=alias, durable=True):
        _limit(connections[alias])
        # The lock that a rotation of all epochs takes first: none can pass between the reading of the epoch and the
        # commit of the rows that carry it.
        deployment = Deployment.objects.using(alias).filter(id=Deployment.ONLY)
        deployment.update(epoch=F("epoch"))
        epoch = deployment.values_list("epoch", flat=True).get()
        StreamRow.objects.using(alias).bulk_create(
            [StreamRow(name=name, epoch=epoch) for name in names], ignore_conflicts=True
        )


def _limit(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_LIMITS)


def _number(connection: BaseDatabaseWrapper, names: list[str]) -> list[Event]:
    with transaction.atomic(using=connection.alias, durable=True), connection.cursor() as cursor:
        streams = StreamRow.objects.using(connection.alias).filter(name__in=names)
        _limit(connection)
        if connection.vendor != "postgresql":
            # SQLite has one lock for all. It is taken by a write: a transaction that has read cannot wait for it.
            streams.update(head=F("head"))
        # In the order of names, as everybody locks streams: no two can wait for each other.
        locked = streams.order_by("name").select_for_update().values_list("name", "crowded")
        crowded = {name for name, is_crowded in locked if is_crowded}
        # Rows of other transactions that committed while we waited for the lock are seen from here on.
        cursor.execute(
            f"""
            UPDATE {TABLES.event}
            SET epoch = numbers.new_epoch, seq = numbers.new_seq, leased_until = {now_plus(connection)}
            FROM (
                SELECT waiting.id AS row_id, streams.epoch AS new_epoch, streams.head + waiting.position AS new_seq
                FROM (
                    SELECT id, stream,
                        row_number() OVER (PARTITION BY stream ORDER BY id) AS position,
                        sum(length(frame)) OVER (ORDER BY stream, id) - length(frame) AS chars_before
                    FROM (
                        SELECT id, stream, frame FROM {TABLES.event}
                        WHERE seq IS NULL AND stream IN ({", ".join(["%s"] * len(names))})
                        ORDER BY stream, id LIMIT {ROWS_MAX}
                    ) AS oldest
                ) AS waiting
                JOIN {TABLES.stream} AS streams ON streams.name = waiting.stream
                WHERE waiting.chars_before < {CHARS_MAX}
            ) AS numbers
            WHERE {TABLES.event}.id = numbers.row_id
            RETURNING id, stream, event_id, frame, mid, epoch, seq, unread
            """,  # noqa: S608 - no names but ours
            [realtime_settings().lease_secs, *names],
        )
        rows = sorted(cursor.fetchall())
        counts = counted(
            connection,
            [Change(id, stream, mid) for id, stream, _, _, mid, _, _, unread in rows if unread is not None],
            crowded,
        )
        heads = {stream: seq for _, stream, _, _, _, _, seq, _ in rows}
        if heads:
            # Last, so that the time of change is as close to the commit as can be.
            cursor.execute(
                f"""
                UPDATE {TABLES.stream} SET head = raised.column2, changed_at = {now_sql(connection)}
                FROM ({values(len(heads), "text", "bigint")}) AS raised WHERE name = raised.column1
                """,  # noqa: S608 - no names but ours
                [value for pair in heads.items() for value in pair],
            )
    return [
        numbered(Stream(stream), event_id, frame, mid, epoch, seq, None if unread is None else counts[stream])
        for _, stream, event_id, frame, mid, epoch, seq, unread in rows
    ]
