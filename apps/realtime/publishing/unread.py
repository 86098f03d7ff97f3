"""Counts the unread notifications of users while their events are numbered (docs/inbox.md).

Each change of an inbox comes with an event of its own, stored in the same transaction. Events of a stream are numbered
one numbering after the other, and whoever counts then sees every change whose event has a number: so the event with the
highest number has the right count, in every tab and on every node.
"""

from collections.abc import Collection, Sequence, Set
from typing import Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count

from ..core.events import UNREAD_MAX
from ..core.parts import parts
from ..models import InboxItem
from ..models import Stream as StreamRow
from .sql import TABLES, values

# Items that one statement hides.
_IDS_MAX: Final = 500


class Change(NamedTuple):
    """An event that was just numbered and changes the inbox of its stream's user."""

    row_id: int
    stream: str
    mid: str


def counted(connection: BaseDatabaseWrapper, changes: Sequence[Change], crowded: Set[str]) -> dict[str, int]:
    """Hide what the new items replace, count what is unread then, and write the counts to the events' rows.

    To be called in the transaction that numbers them, after that, and with each stream's changes in their order.

    Args:
        crowded: those of the transaction's streams that are marked so.

    Returns:
        The count of each stream, `UNREAD_MAX` at most.
    """
    if not changes:
        return {}
    _hide_replaced(connection, changes, crowded)
    # The order makes PostgreSQL read the index of unread items (inbox/listing.py says why).
    streams = sorted({change.stream for change in changes})
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT column1, (
                SELECT count(*) FROM (
                    SELECT 1 FROM {TABLES.item}
                    WHERE stream >= column1 AND stream <= column1 AND NOT hidden AND read_at IS NULL
                    ORDER BY stream, id LIMIT {UNREAD_MAX}
                ) AS unread
            ) FROM ({values(len(streams), "text")}) AS streams
            """,  # noqa: S608 - no names but ours
            streams,
        )
        counts: dict[str, int] = dict(cursor.fetchall())
        cursor.execute(
            f"""
            UPDATE {TABLES.event} SET unread = counted.column2
            FROM ({values(len(changes), "bigint", "integer")}) AS counted WHERE id = counted.column1
            """,  # noqa: S608 - no names but ours
            [value for change in changes for value in (change.row_id, counts[change.stream])],
        )
    return counts


def _hide_replaced(connection: BaseDatabaseWrapper, changes: Sequence[Change], crowded: Set[str]) -> None:
    """Of each group that has a new item the newest stays visible, whichever of them was numbered or committed first.

    Items that a transaction of their user holds are left, and their streams marked: all groups of these are looked
    through again with the next event of that inbox. The transaction's own comes after its commit. So no numbering waits
    for an item.
    """
    items = InboxItem.objects.using(connection.alias)
    new = items.filter(mid__in=[change.mid for change in changes], group__isnull=False)
    groups = set(new.values_list("stream", "group"))
    again = sorted(crowded & {change.stream for change in changes})
    if again:
        visible = items.filter(hidden=False, group__isnull=False, stream__in=again)
        many = visible.values("stream", "group").annotate(count=Count("id")).filter(count__gt=1)
        groups.update(many.values_list("stream", "group"))
    left = _hide_all_but_newest(connection, groups) if groups else set()
    rows = StreamRow.objects.using(connection.alias)
    if left:
        rows.filter(name__in=left).update(crowded=True)
    if done := [stream for stream in again if stream not in left]:
        rows.filter(name__in=done).update(crowded=False)


def _hide_all_but_newest(connection: BaseDatabaseWrapper, groups: Collection[tuple[str, str | None]]) -> set[str]:
    """Returns the streams of which somebody holds an item that should be hidden."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT item.id, item.stream FROM (
                SELECT stream, group_key, max(id) AS newest
                FROM ({values(len(groups), "text", "text")}) AS groups
                JOIN {TABLES.item} ON stream = column1 AND group_key = column2
                WHERE NOT hidden AND group_key IS NOT NULL GROUP BY stream, group_key
            ) AS kept JOIN {TABLES.item} AS item ON item.stream = kept.stream AND item.group_key = kept.group_key
            WHERE item.id < kept.newest AND NOT item.hidden AND item.group_key IS NOT NULL
            """,  # noqa: S608 - no names but ours
            [value for group in groups for value in group],
        )
        replaced: dict[int, str] = dict(cursor.fetchall())
    items = InboxItem.objects.using(connection.alias)
    for part in parts(sorted(replaced), _IDS_MAX):
        visible = items.filter(id__in=part, hidden=False)
        free = list(visible.order_by("id").select_for_update(skip_locked=True).values_list("id", flat=True))
        items.filter(id__in=free).update(hidden=True)
        for id in free:
            del replaced[id]
    return set(replaced.values())
