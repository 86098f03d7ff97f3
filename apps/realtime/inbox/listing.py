"""Reads the inbox of one user: pages of it, and the count of what is unread (docs/inbox.md).

Each is one query, and reads only rows that it shows or counts, however many there are beside them.
"""

import re
from typing import Final, NamedTuple

from django.db.models import QuerySet

from ..conf import realtime_settings
from ..core.events import UNREAD_MAX
from ..core.names import Stream
from .models import UNREAD, VISIBLE, InboxItem, InboxMute

PAGE_ITEMS: Final = 30
# What a handle looks like. Anything else is as unknown as another user's: PostgreSQL would refuse a zero byte.
_MID: Final = re.compile(r"[0-9a-f]{32}")


class Page(NamedTuple):
    """The newest items first; `next` is the handle to go on from, None at the end."""

    items: list[InboxItem]
    next: str | None


def page(stream: Stream, before: str | None = None) -> Page:
    """The newest visible items of the user whose stream this is; with `before`, those older than that item.

    There are none before an item that is unknown, which is also one so old that it is gone.
    """
    rows = _newest(stream).filter(VISIBLE)
    if before is not None:
        rows = rows.filter(id__lt=items(stream).filter(mid__in=handles([before])).values("id"))
    found = list(rows[: PAGE_ITEMS + 1])
    shown = found[:PAGE_ITEMS]
    return Page(shown, shown[-1].mid if len(found) > PAGE_ITEMS else None)


def unread(stream: Stream) -> int:
    """How many items are unread and visible; counting stops at `UNREAD_MAX`."""
    return _newest(stream).filter(UNREAD)[:UNREAD_MAX].count()


def muted(stream: Stream) -> list[str]:
    """The event ids that the user does not want to be told of."""
    mutes = InboxMute.objects.using(realtime_settings().database).filter(stream=stream)
    return list(mutes.order_by("event_id").values_list("event_id", flat=True))


def _newest(stream: Stream) -> QuerySet[InboxItem]:
    # A range of one stream, in the order of an index: with `stream = …` PostgreSQL knows that any order of streams will
    # do, and reads everybody's items, along the primary key or the table, where it believes this user's to be frequent.
    rows = InboxItem.objects.using(realtime_settings().database)
    return rows.filter(stream__gte=stream, stream__lte=stream).order_by("-stream", "-id")


def in_index_order(stream: Stream) -> QuerySet[InboxItem, int]:
    """The ids of all of a user's items, in an order in which a few are found as fast as many (see above)."""
    rows = InboxItem.objects.using(realtime_settings().database).filter(stream__gte=stream, stream__lte=stream)
    return rows.order_by("stream", "read_at").values_list("id", flat=True)


def items(stream: Stream) -> QuerySet[InboxItem]:
    """All of a user's items."""
    return InboxItem.objects.using(realtime_settings().database).filter(stream=stream)


def handles(mids: list[str]) -> list[str]:
    """Those of the texts that can be the handle of an item."""
    return [mid for mid in mids if _MID.fullmatch(mid)]
