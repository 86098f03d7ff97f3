"""How far users' tabs have acknowledged their streams: what nodes write and relays read (docs/unseen.md)."""

from collections.abc import Mapping
from typing import Final

from django.db import connections

from ..conf import realtime_settings
from ..core.names import Stream
from ..core.resume import Cursor
from .models import Acknowledged

_TABLE: Final = Acknowledged._meta.db_table


def write_acknowledged(cursors: Mapping[Stream, Cursor]) -> None:
    """Note that the tabs have these events, in one statement. Within a numbering it only ever goes up.

    Raises:
        django.db.Error: nothing is noted.
    """
    # Every node goes by the names, so no two can wait for each other.
    rows = [(stream, *cursors[stream]) for stream in sorted(cursors)]
    with connections[realtime_settings().database].cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {_TABLE} (stream, epoch, seq) VALUES {", ".join(["(%s, %s, %s)"] * len(rows))}
            ON CONFLICT (stream) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
            WHERE {_TABLE}.epoch <> excluded.epoch OR {_TABLE}.seq < excluded.seq
            """,  # noqa: S608 - no name but ours
            [value for row in rows for value in row],
        )
