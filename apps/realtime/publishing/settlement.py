"""Writes down what became of numbered events on their way to the broker (docs/publishing.md)."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from django.db import connections

from .. import metrics
from ..conf import realtime_settings
from ..core.events import Event
from ..core.names import Stream
from ..core.parts import parts
from .sql import TABLES, now_sql, values

# In one statement: it locks rows, so it is kept short.
_RANGES_MAX: Final = 200


class Place(NamedTuple):
    """Where a durable event stands; no two have the same."""

    stream: Stream
    epoch: str
    seq: int

    @classmethod
    def of(cls, event: Event) -> "Place":
        return cls(event.stream, event.epoch, event.seq)


def confirm(places: Iterable[Place]) -> None:
    """The broker has these events.

    Raises:
        django.db.Error: perhaps nothing was written; to be called again.
    """
    _settle(places, "confirmed_at", "confirmed")


def release(places: Iterable[Place]) -> None:
    """These events did not leave this process, which gives up: the relay may take them at once.

    Raises:
        django.db.Error: perhaps nothing was written; to be called again.
    """
    _settle(places, "leased_until", "unconfirmed")


def _settle(places: Iterable[Place], column: str, outcome: str) -> None:
    connection = connections[realtime_settings().database]
    ranges = _ranges(places)
    for part in parts(ranges, _RANGES_MAX):
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                UPDATE {TABLES.event} SET {column} = {now_sql(connection)}
                FROM ({values(len(part), "text", "text", "bigint", "bigint")}) AS settled
                WHERE stream = settled.column1 AND epoch = settled.column2
                    AND seq BETWEEN settled.column3 AND settled.column4 AND confirmed_at IS NULL
                """,  # noqa: S608 - no names but ours
                [value for (stream, epoch, first), last in part for value in (stream, epoch, first, last)],
            )
            metrics.SETTLED.labels(outcome).inc(cursor.rowcount)


def _ranges(places: Iterable[Place]) -> list[tuple[Place, int]]:
    """Neighbours put together: the first of each range, and the seq of its last."""
    ranges: list[tuple[Place, int]] = []
    for place in sorted(places):
        if ranges:
            first, last = ranges[-1]
            if place == (first.stream, first.epoch, last + 1):
                ranges[-1] = (first, place.seq)
                continue
        ranges.append((place, place.seq))
    return ranges
