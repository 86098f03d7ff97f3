"""Deletes old inbox items (docs/inbox.md, "How long it keeps")."""

from collections import defaultdict
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from .. import metrics
from ..conf import RealtimeSettings
from ..core.names import Stream
from ..models import InboxItem
from .inbox import tell_change
from .sql import begin_writing
from .targets import Target

# Items that one transaction deletes.
ITEMS_A_BATCH: Final = 500


class InboxPruner:
    """Deletes them in small transactions. Two relays share the work: neither waits for a row that the other has."""

    def __init__(self, conf: RealtimeSettings) -> None:
        self._alias = conf.database
        self._max_age = timedelta(days=conf.inbox_days)

    def turn(self) -> bool:
        """Delete a batch of items; True when there may be more.

        Raises:
            django.db.Error: nothing has changed.
        """
        items = InboxItem.objects.using(self._alias)
        old = items.filter(created_at__lt=Now() - self._max_age).order_by("created_at")
        if not old.exists():
            return False
        with transaction.atomic(using=self._alias):
            begin_writing(self._alias)
            going = list(old.select_for_update(skip_locked=True)[:ITEMS_A_BATCH])
            items.filter(id__in=[item.id for item in going]).delete()
            self._tell(going)
        metrics.INBOX_PRUNED.inc(len(going))
        return len(going) == ITEMS_A_BATCH

    def _tell(self, gone: list[InboxItem]) -> None:
        """Only what was counted: nobody looks at a list that long."""
        unread: defaultdict[Target, list[str]] = defaultdict(list)
        for item in gone:
            if item.read_at is None and not item.hidden:
                unread[Target(Stream(item.stream), item.user_id)].append(item.mid)
        for target, mids in unread.items():
            tell_change(target, hidden=mids)
