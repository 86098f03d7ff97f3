"""Tells a user's tabs that something in the inbox has changed (docs/inbox.md)."""

from collections.abc import Sequence
from typing import Final

from django.core.serializers.json import DjangoJSONEncoder

from ..core.events import EventTemplate
from .store import store
from .targets import Target

CHANGED: Final = "inbox/CHANGED"
# More are not listed: the page fetches its list anew.
MIDS_MAX: Final = 100


def tell_change(
    target: Target, *, read: Sequence[str] = (), unread: Sequence[str] = (), hidden: Sequence[str] = ()
) -> None:
    """Store the event that names the changed items and will carry the new count.

    To be called in the transaction that changes them, with the `mid` of each.

    Raises:
        django.db.Error: the row cannot be stored.
    """
    changes = {"read": read, "unread": unread, "hidden": hidden}
    data: dict[str, object] = {name: list(mids[:MIDS_MAX]) for name, mids in changes.items()}
    if any(len(mids) > MIDS_MAX for mids in changes.values()):
        data["reload"] = True
    store(EventTemplate(CHANGED, data, DjangoJSONEncoder), [target], about_inbox=True)
