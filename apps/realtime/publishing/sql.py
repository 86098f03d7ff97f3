"""What PostgreSQL and SQLite write differently, for the statements that the ORM has no words for (docs/history.md)."""

from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import InboxItem, StoredEvent, Unseen
from ..models import Stream as StreamRow


class TABLES:
    """The tables' names; Django's own default, which no setting changes, needs no quotes."""

    event: Final = StoredEvent._meta.db_table
    stream: Final = StreamRow._meta.db_table
    item: Final = InboxItem._meta.db_table
    unseen: Final = Unseen._meta.db_table


def begin_writing(alias: str) -> None:
    """To be called first in a transaction that reads before it writes: SQLite makes no writer of one that has read."""
    # Changes nothing, and takes the lock.
    StreamRow.objects.using(alias).filter(name="").update(floor=0)


def now_sql(connection: BaseDatabaseWrapper) -> str:
    """The database's clock at the start of the statement, as Django's `Now()` stores it."""
    if connection.vendor == "postgresql":
        return "statement_timestamp()"
    return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def now_plus(connection: BaseDatabaseWrapper) -> str:
    """The same, with a placeholder for the seconds to add."""
    if connection.vendor == "postgresql":
        return "statement_timestamp() + make_interval(secs => %s)"
    return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')"


def secs_since(connection: BaseDatabaseWrapper, time: str) -> str:
    """How many seconds ago a time of `now_sql` was, as a float."""
    if connection.vendor == "postgresql":
        return f"CAST(extract(epoch FROM statement_timestamp() - {time}) AS double precision)"
    return f"(julianday('now') - julianday({time})) * 86400.0"


def values(rows: int, *types: str) -> str:
    """A table of placeholders. On both databases its columns are called column1, column2, …"""
    row = "(" + ", ".join(f"CAST(%s AS {name})" for name in types) + ")"
    return "VALUES " + ", ".join([row] * rows)
