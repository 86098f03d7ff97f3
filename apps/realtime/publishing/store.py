"""Stores durable events in the transaction of whoever tells them (docs/publishing.md)."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.db import connections, transaction

from ..conf import realtime_settings
from ..core.events import SEQ_MAX_BYTES, UNCOUNTED, EventTemplate
from ..core.names import Stream
from ..core.parts import parts
from ..tracing import enabled, new_mid, step
from .process import publishing_process
from .targets import Target

# Rows of one INSERT; more make it no quicker, and SQLite takes a limited number of parameters.
_ROWS_PER_INSERT: Final = 200
# Of one question for mutes.
_STREAMS_PER_QUERY: Final = 500

_EVENT_COLUMNS: Final = ("stream", "mid", "event_id", "frame", "unread")
_ITEM_COLUMNS: Final = ("stream", "user_id", "mid", "event_id", "title", "url", "group_key")
_UNSEEN_COLUMNS: Final = ("stream", "mid", "due_at")


def store(template: EventTemplate, targets: Sequence[Target], *, about_inbox: bool = False) -> None:
    """Store one event for each target, now: as rows of the transaction that the caller is in, in REALTIME_DATABASE.

    They leave after its commit. One with a title gets into the inbox of each user who has not muted its id. It inserts
    rows and locks none, so that no transaction waits for another one here.

    Args:
        template: the event; whoever made it has seen that its url leads to this site.
        targets: each once.
        about_inbox: it says that the inbox of its user has changed, so it carries the count of unread items.

    Raises:
        BadEvent: with the name of its stream the event is too large.
        django.db.Error: the rows cannot be stored.
    """
    # The models: there are none while Django starts, when the public API is imported.
    from .sql import TABLES

    if not targets:
        return
    conf = realtime_settings()
    alias = conf.database
    now = time.time()
    # Before the transaction: SQLite refuses to make a writer of one that has read.
    muted = frozenset[str]() if template.title is None else _muted(alias, template.event_id, targets)
    # Without a savepoint, as Django's bulk_create: an error leaves the caller's transaction to be rolled back.
    with transaction.atomic(using=alias, savepoint=False):
        events: list[tuple[Any, ...]] = []
        items: list[tuple[Any, ...]] = []
        for stream, user_id in targets:
            is_muted = stream in muted
            event = template.for_stream(stream, mid=new_mid(), ts=now, room_bytes=SEQ_MAX_BYTES, muted=is_muted)
            is_item = template.title is not None and user_id is not None and not is_muted
            unread = UNCOUNTED if is_item or about_inbox else None
            events.append((stream, event.mid, event.id, event.frame, unread))
            if is_item:
                item = (stream, user_id, event.mid, event.id, template.title, template.url or "", template.group)
                items.append(item)
        _insert(alias, TABLES.event, _EVENT_COLUMNS, events)
        _insert(alias, TABLES.item, _ITEM_COLUMNS, items)
        if conf.unseen_after_secs is not None and conf.acknowledged_every_secs is not None:
            # Nodes write down what was acknowledged in time, and a little later.
            due_secs = conf.unseen_after_secs + conf.acknowledged_every_secs
            _insert_unseen(alias, [(stream, mid, due_secs) for stream, _, mid, *_ in items])
        streams = [target.stream for target in targets]
        if enabled():
            for stream, mid, *_ in events:
                step("stored", stream, template.event_id, mid)
        transaction.on_commit(lambda: _wake(alias, streams), using=alias, robust=True)


def _muted(alias: str, event_id: str, targets: Iterable[Target]) -> frozenset[str]:
    """The streams of those users who do not want to be told of it."""
    from ..models import InboxMute

    mutes = InboxMute.objects.using(alias).filter(event_id=event_id)
    users = [target.stream for target in targets if target.user_id is not None]
    return frozenset(
        stream
        for part in parts(users, _STREAMS_PER_QUERY)
        for stream in mutes.filter(stream__in=part).values_list("stream", flat=True)
    )


def _insert(alias: str, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    # 10,000 rows take a quarter of a second of CPU this way and a whole one as model objects. `created_at` is set by
    # the database.
    _insert_values(alias, table, columns, f"({', '.join(['%s'] * len(columns))})", rows)


def _insert_unseen(alias: str, rows: Sequence[tuple[Any, ...]]) -> None:
    from .sql import TABLES, now_plus

    _insert_values(alias, TABLES.unseen, _UNSEEN_COLUMNS, f"(%s, %s, {now_plus(connections[alias])})", rows)


def _insert_values(alias: str, table: str, columns: Sequence[str], row: str, rows: Sequence[tuple[Any, ...]]) -> None:
    with connections[alias].cursor() as cursor:
        for part in parts(rows, _ROWS_PER_INSERT):
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - no name but ours
                f"VALUES {', '.join([row] * len(part))}",
                [value for values in part for value in values],
            )


def _wake(alias: str, streams: list[Stream]) -> None:
    publishing_process().committed(alias, streams)
