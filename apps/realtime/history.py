"""Reads the heads of streams and the events behind them (docs/history.md). Everything here uses the database."""

from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

from django.db import connections
from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from .conf import realtime_settings
from .core.events import Event, numbered
from .core.names import Stream
from .core.resume import Head
from .models import Deployment, new_epoch
from .models import Stream as StreamRow

# What one query is asked at most.
NAMES_MAX: Final = 1_000
RANGES_MAX: Final = 200

# What one page holds at most, and all pages of one query together.
PAGE_EVENTS: Final = 256
PAGE_BYTES: Final = 1024 * 1024
PAGES_EVENTS: Final = 20_000
PAGES_BYTES: Final = 16 * 1024 * 1024

_SEQ_MAX: Final = 2**63 - 1

_T = TypeVar("_T")


class Range(NamedTuple):
    """The events of a stream with after < seq ≤ upto."""

    stream: Stream
    epoch: str
    after: int
    upto: int


class PageRequest(NamedTuple):
    """The next events of a stream behind a seq."""

    stream: Stream
    epoch: str
    after: int


def heads(streams: Iterable[Stream]) -> dict[Stream, Head]:
    """Where the streams stand, in one query for each 1,000.

    Raises:
        django.db.Error: the database gave no answer.
    """
    deployments = Deployment.objects.using(realtime_settings().database)
    # In the same query: a rotation between two would give a new numbering the head of an old one.
    deployment = deployments.values_list(Value(""), "epoch", Value(0), Value(0))
    answer: dict[Stream, Head] = {}
    for names in _chunks(streams, NAMES_MAX):
        rows = _rows().filter(name__in=names).values_list("name", "epoch", "head", "floor")
        found = {name: Head(epoch, head, floor) for name, epoch, head, floor in rows.union(deployment, all=True)}
        unwritten = found.get("") or Head(deployment_epoch(), 0, 0)
        answer |= {name: found.get(name, unwritten) for name in names}
    return answer


def changed_heads(streams: Iterable[Stream], within_secs: float) -> dict[Stream, Head]:
    """Where those of the streams stand that changed in the last seconds, in one query for each 1,000.

    Time is the database's. A change is noted a moment before it is committed: ask for more than the time since the last
    question.

    Raises:
        django.db.Error: the database gave no answer.
    """
    changed = _rows().filter(changed_at__gte=Now() - timedelta(seconds=within_secs))
    return {
        Stream(name): Head(epoch, head, floor)
        for names in _chunks(streams, NAMES_MAX)
        for name, epoch, head, floor in changed.filter(name__in=names).values_list("name", "epoch", "head", "floor")
    }


def counts(ranges: Collection[Range]) -> dict[Range, int]:
    """How many events of each range are stored, in one query for each 200.

    Raises:
        django.db.Error: the database gave no answer.
    """
    answer: dict[Range, int] = {}
    for chunk in _chunks(ranges, RANGES_MAX):
        answer |= {chunk[number]: count for number, count in _fetch(_COUNTS, chunk)}
    return answer


def pages(requests: Collection[PageRequest], max_events: int = PAGE_EVENTS) -> dict[PageRequest, list[Event]]:
    """The next events of each request, in one query for each 200.

    They are contiguous from `after` + 1 on: a page ends before a hole. It has 1 MiB of frames at most. Where many
    ask, each gets less, but one event at least, if there is one.

    Raises:
        django.db.Error: the database gave no answer.
    """
    answer: dict[PageRequest, list[Event]] = {request: [] for request in requests}
    for chunk in _chunks(answer, RANGES_MAX):
        events_max = min(max_events, PAGES_EVENTS // len(chunk))
        ranges = [Range(*request, min(request.after + events_max, _SEQ_MAX)) for request in chunk]
        bytes_max = min(PAGE_BYTES, PAGES_BYTES // len(chunk))
        on_postgresql = connections[realtime_settings().database].vendor == "postgresql"
        select = _PAGES_POSTGRESQL if on_postgresql else _PAGES_SQLITE
        for number, seq, event_id, frame, mid, unread in _fetch(select, ranges, bytes_max):
            request = chunk[number]
            event = numbered(request.stream, event_id, frame, mid, request.epoch, seq, unread)
            answer[request].append(event)
    for events in answer.values():
        # They come in order, though nobody promises; a sort in the database would write all frames to its disk.
        events.sort(key=attrgetter("seq"))
    return answer


def deployment_epoch() -> str:
    """The numbering of streams that have no row; made by whoever asks first."""
    deployments = Deployment.objects.using(realtime_settings().database)
    return deployments.get_or_create(id=Deployment.ONLY, defaults={"epoch": new_epoch()})[0].epoch


def _rows() -> QuerySet[StreamRow]:
    return StreamRow.objects.using(realtime_settings().database)


def _chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


# The ranges are a table of the query, so that one query answers all of them.
_RANGE: Final = "({number}, CAST(%s AS text), CAST(%s AS text), CAST(%s AS bigint), CAST(%s AS bigint))"
# What depends on the range row by row, here and by LATERAL below, can only be planned as one look into the unique index
# for each range, whatever the statistics say.
_COUNTS: Final = """
    SELECT number, (
        SELECT count(*) FROM message_flow_storedevent AS event
        WHERE event.stream = range.stream AND event.epoch = range.epoch
        AND event.seq > range.after AND event.seq <= range.upto
    ) FROM range
"""
# PostgreSQL knows the size of a text that it stores out of line without reading it.
_PAGES_POSTGRESQL: Final = """
    SELECT number, seq, event_id, frame, mid, unread FROM range CROSS JOIN LATERAL (
        SELECT event.*, row_number() OVER up_to_here AS place, sum(octet_length(event.frame)) OVER up_to_here AS size
        FROM message_flow_storedevent AS event
        WHERE event.stream = range.stream AND event.epoch = range.epoch
        AND event.seq > range.after AND event.seq <= range.upto
        WINDOW up_to_here AS (ORDER BY event.seq)
    ) AS page WHERE seq = after + place AND (place = 1 OR size <= %s)
"""
_PAGES_SQLITE: Final = """
    SELECT number, seq, event_id, frame, mid, unread FROM (
        SELECT range.number, range.after, event.seq, event.event_id, event.frame, event.mid, event.unread,
        row_number() OVER up_to_here AS place, sum(length(CAST(event.frame AS blob))) OVER up_to_here AS size
        FROM range JOIN message_flow_storedevent AS event
        ON event.stream = range.stream AND event.epoch = range.epoch
        AND event.seq > range.after AND event.seq <= range.upto
        WINDOW up_to_here AS (PARTITION BY range.number ORDER BY event.seq)
    ) AS page WHERE seq = after + place AND (place = 1 OR size <= %s)
"""


def _fetch(select: str, ranges: Collection[Range], *more: int) -> list[tuple[Any, ...]]:
    table = ", ".join(_RANGE.format(number=number) for number in range(len(ranges)))
    query = f"WITH range (number, stream, epoch, after, upto) AS (VALUES {table}) {select}"
    with connections[realtime_settings().database].cursor() as cursor:
        cursor.execute(query, [*(value for one in ranges for value in one), *more])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
