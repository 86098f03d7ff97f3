"""What a user does to the inbox: read, unread, hide, mute (docs/inbox.md).

Each is one transaction, of the user's own rows and the event that tells every tab. Handles that are unknown, or belong
to somebody else, change nothing and are not told apart.
"""

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.db import Error, transaction
from django.db.models import QuerySet
from django.utils import timezone

from ..conf import realtime_settings
from ..core.errors import BadEvent
from ..core.events import check_event_id
from ..core.parts import parts
from ..models import Acknowledged, InboxItem, InboxMute
from ..publishing.inbox import tell_change
from ..publishing.sql import begin_writing
from ..publishing.targets import Target
from .listing import handles, in_index_order, items
from .models import UNREAD, VISIBLE

logger = logging.getLogger(__name__)

# Mutes of one user; they are made of whatever a browser sends.
MUTES_MAX: Final = 200
# Items of one statement.
_IDS_PER_UPDATE: Final = 5_000
_ITEMS_PER_DELETE: Final = 500
_UNDO: Final = "%Y%m%d%H%M%S%f"
_UNDO_SHAPE: Final = re.compile(r"[0-9]{20}")


class TooManyMutes(Exception):
    """The user has muted as many event ids as can be."""


def read(target: Target, mids: Sequence[str]) -> str | None:
    """Mark these items as read; returns what `undo` takes, None where nothing has changed."""
    return _read(target, _unread(target).filter(mid__in=handles(list(mids))))


def read_up_to(target: Target, mid: str) -> str | None:
    """The same for an item and all that are older."""
    newest = items(target.stream).filter(mid__in=handles([mid])).values("id")
    return _read(target, _unread(target).filter(id__lte=newest))


def read_all(target: Target) -> str | None:
    """The same for all items."""
    return _read(target, _unread(target))


def unread(target: Target, mids: Sequence[str]) -> None:
    """Mark these items as unread."""
    _mark_unread(target, _seen(target).filter(mid__in=handles(list(mids))))


def undo(target: Target, token: str) -> None:
    """Mark as unread what one call has marked as read; a token that fits nothing changes nothing."""
    # Which day a calendar has not, Python says only when it is asked.
    if not _UNDO_SHAPE.fullmatch(token):
        return
    try:
        at = datetime.strptime(token, _UNDO)  # noqa: DTZ007 - the zone follows
    except ValueError:
        return
    _mark_unread(target, _seen(target).filter(read_at=at.replace(tzinfo=UTC) if settings.USE_TZ else at))


def hide(target: Target, mids: Sequence[str]) -> None:
    """Take these items off the list and out of the count."""
    with _transaction():
        hidden = _change(target, items(target.stream).filter(VISIBLE, mid__in=handles(list(mids))), hidden=True)
        if hidden:
            tell_change(target, hidden=hidden)


def mute(target: Target, event_id: str) -> None:
    """From now on, events of this id are no items; pages get them without title and link.

    Raises:
        BadEvent: it can be no event id.
        TooManyMutes: unmute another one before.
    """
    check_event_id(event_id)
    mutes = _mutes(target)
    if mutes.count() >= MUTES_MAX and not mutes.filter(event_id=event_id).exists():
        raise TooManyMutes
    mutes.bulk_create([InboxMute(stream=target.stream, event_id=event_id)], ignore_conflicts=True)


def unmute(target: Target, event_id: str) -> None:
    """Events of this id are items again."""
    try:
        check_event_id(event_id)
    except BadEvent:
        return
    _mutes(target).filter(event_id=event_id).delete()


def forget(target: Target) -> None:
    """Delete all that is kept of a user's inbox, in small transactions: the user is gone.

    An error is logged, not raised: what is left goes when it is old.
    """
    try:
        while _forget_some(target):
            pass
        _mutes(target).delete()
        Acknowledged.objects.using(realtime_settings().database).filter(stream=target.stream).delete()
    except Error:
        logger.exception("The inbox of a user who was deleted stays until it is old")


def _forget_some(target: Target) -> bool:
    """Delete a part of the items; whether there may be more."""
    mine = items(target.stream)
    with _transaction():
        begin_writing(realtime_settings().database)
        # Locked in the order of ids as everywhere, found in that of an index.
        some = list(in_index_order(target.stream)[:_ITEMS_PER_DELETE])
        ids = list(mine.filter(id__in=some).order_by("id").select_for_update().values_list("id", flat=True))
        mine.filter(id__in=ids).delete()
    return len(some) == _ITEMS_PER_DELETE


def _read(target: Target, rows: QuerySet[InboxItem]) -> str | None:
    # Of our own clock, to the microsecond: it says which items were read at once.
    now = timezone.now()
    with _transaction():
        mids = _change(target, rows, read_at=now)
        if not mids:
            return None
        tell_change(target, read=mids)
    return now.strftime(_UNDO)


def _mark_unread(target: Target, rows: QuerySet[InboxItem]) -> None:
    with _transaction():
        mids = _change(target, rows, read_at=None)
        if mids:
            tell_change(target, unread=mids)


def _change(target: Target, rows: QuerySet[InboxItem], **values: Any) -> list[str]:
    """Change those of the rows that still fit, and return their handles, the newest first."""
    mine = items(target.stream)
    begin_writing(realtime_settings().database)
    # In the order in which everybody locks items, so that no two wait for each other.
    found = list(rows.order_by("id").select_for_update().values_list("id", "mid"))
    for part in parts(found, _IDS_PER_UPDATE):
        mine.filter(id__in=[id for id, _ in part]).update(**values)
    return [mid for _, mid in reversed(found)]


def _unread(target: Target) -> QuerySet[InboxItem]:
    return items(target.stream).filter(UNREAD)


def _seen(target: Target) -> QuerySet[InboxItem]:
    return items(target.stream).filter(VISIBLE, read_at__isnull=False)


def _mutes(target: Target) -> QuerySet[InboxMute]:
    return InboxMute.objects.using(realtime_settings().database).filter(stream=target.stream)


def _transaction() -> transaction.Atomic:
    return transaction.atomic(using=realtime_settings().database)
