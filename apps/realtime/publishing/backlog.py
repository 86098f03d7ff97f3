"""How many durable events wait at each stage of their way, and for how long (docs/health.md)."""

from typing import Final

from django.db import connections

from .. import metrics
from .sql import TABLES, secs_since

# An outage leaves millions: from here on the number says nothing new, and counting has its bound.
COUNT_MAX: Final = 10_000

# Each in the order of its index; of those that were published before, the longest ago first.
_STAGES: Final = {
    "unnumbered": "seq IS NULL ORDER BY stream, id",
    "unpublished": "seq IS NOT NULL AND confirmed_at IS NULL ORDER BY leased_until",
}


def measure(alias: str) -> None:
    """Show both stages as metrics, with one query each on the index that holds nothing but such events.

    Raises:
        django.db.Error: the database gave no answer; the last figures stay.
    """
    connection = connections[alias]
    for stage, which in _STAGES.items():
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT count(*), coalesce({secs_since(connection, "min(created_at)")}, 0.0)
                FROM (SELECT created_at FROM {TABLES.event} WHERE {which} LIMIT {COUNT_MAX}) AS waiting
                """  # noqa: S608 - no names but ours
            )
            count, oldest_secs = cursor.fetchone()
        metrics.BACKLOG.labels(stage).set(count)
        metrics.BACKLOG_OLDEST_SECS.labels(stage).set(max(0.0, oldest_secs))
