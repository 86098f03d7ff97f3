"""`notify`: durable events (docs/publishing.md)."""

import time
from typing import Final
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

from ..conf import realtime_settings
from ..core.events import SEQ_MAX_BYTES, Event, EventTemplate
from ..core.names import Stream
from ..topics import topic_registry
from .process import publishing_process
from .targets import Recipient, existing_streams_of

# Rows of one INSERT; more make it no quicker, and SQLite takes a limited number of parameters.
_ROWS_PER_INSERT: Final = 200


@async_unsafe("notify() uses the database. In async code, call `await anotify(…)` instead.")
def notify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    using: str | None = None,
) -> None:
    """Store an event for its recipients: each of their tabs gets it once and in order, also one that is away now.

    The rows belong to the transaction that the caller is in. They leave after its commit, and never after a rollback;
    the call does not wait for the broker. In async code: `await anotify(…)`.

    Args:
        to: a user, a user's primary key, `Topic(name)`, `EVERYONE`, or an iterable of these.
        id: what the event is called, such as `invoice/PAID`.
        data: anything that Django's JSON encoder takes, 256 KiB at most.
        title: what has happened, for people.
        url: where to look.
        using: the database of the caller's transaction. It has to be REALTIME_DATABASE, where the numbering is.

    Raises:
        BadEvent: a reserved or unusable id, data that is no JSON or too large, a title or URL that is no text.
        BadRecipient: `to` names nobody, or a user that does not exist.
        UnknownTopic: a topic that no `@topic` pattern declares.
        ValueError: `using` is another database.
        django.db.Error: the rows cannot be stored.
    """
    alias = realtime_settings().database
    if using is not None and using != alias:
        raise ValueError(
            f"using={using!r}: durable events are numbered in REALTIME_DATABASE = {alias!r}, and a row in another "
            "database could not be part of the same transaction"
        )
    template = EventTemplate(id, data, DjangoJSONEncoder, title=title, url=url)
    streams = existing_streams_of(to, topic_registry())
    now = time.time()
    if not streams:
        return
    events = [template.for_stream(one, mid=uuid4().hex, ts=now, room_bytes=SEQ_MAX_BYTES) for one in streams]
    # Without a savepoint, as Django's bulk_create: an error leaves the caller's transaction to be rolled back.
    with transaction.atomic(using=alias, savepoint=False):
        _insert(alias, events)
        transaction.on_commit(lambda: _wake(alias, streams), using=alias, robust=True)


async def anotify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    using: str | None = None,
) -> None:
    """`notify` for async code."""
    await sync_to_async(notify)(to, id, data, title=title, url=url, using=using)


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
    connection = connections[alias]
    # A test that runs the hooks of a transaction which never commits: there is nothing that another connection sees.
    if connection.in_atomic_block:
        return
    # A database in memory is a test's, too: a second connection would lock the first one out.
    if not _is_in_memory(connection):
        publishing_process().outbox.wake(streams)


def _is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())  # type: ignore[attr-defined]
