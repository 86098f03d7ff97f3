"""`notify`: durable events (docs/publishing.md)."""

from collections.abc import Callable
from datetime import datetime
from typing import overload

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.asyncio import async_unsafe

from ..conf import realtime_settings
from ..core.events import EventTemplate
from ..core.texts import require_own_url
from ..topics import topic_registry
from .scheduled import schedule
from .store import store
from .targets import Recipient, existing_targets_of


@overload
def notify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    group: str | None = None,
    using: str | None = None,
    at: None = None,
) -> None: ...


@overload
def notify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    group: str | None = None,
    using: str | None = None,
    at: datetime,
) -> str: ...


@async_unsafe("notify() uses the database. In async code, call `await anotify(…)` instead.")
def notify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    group: str | None = None,
    using: str | None = None,
    at: datetime | None = None,
) -> str | None:
    """Store an event for its recipients: each of their tabs gets it once and in order, also one that is away now.

    The rows belong to the transaction that the caller is in. They leave after its commit, and never after a rollback;
    the call does not wait for the broker. In async code: `await anotify(…)`.

    Args:
        to: a user, a user's primary key, `Topic(name)`, `EVERYONE`, or an iterable of these.
        id: what the event is called, such as `invoice/PAID`.
        data: anything that Django's JSON encoder takes, 256 KiB at most.
        title: what has happened, for people, in 200 characters at most. With one it is in the inbox of its users, too,
            but for those who have muted `id`.
        url: where to look: a path of this site, or an address of a host that ALLOWED_HOSTS names.
        group: in a user's inbox, what has the same group is replaced by this.
        using: the database of the caller's transaction. It has to be REALTIME_DATABASE, where the numbering is.
        at: when it leaves, with a time zone; a relay does that within about a second. Everything is checked and encoded
            now; who is no user any more by then is left out. A time that has passed: at once.

    Returns:
        With `at` the handle for `cancel_scheduled`.

    Raises:
        BadEvent: a reserved or unusable id, data that is no JSON or too large, an unusable title, URL or group, a URL
            that leads to another site, a time without a time zone.
        BadRecipient: `to` names nobody, or a user that does not exist.
        UnknownTopic: a topic that no `@topic` pattern declares.
        ValueError: `using` is another database.
        django.db.Error: the rows cannot be stored.
    """
    alias = realtime_settings().database
    if using is not None and using != alias:
        raise ValueError(
            f"using={using!r}: durable events are numbered in REALTIME_DATABASE = {alias!r}, and a row in another "
            "database could not be part of the same transaction"
        )
    template = EventTemplate(id, data, DjangoJSONEncoder, title=title, url=url, group=group)
    if template.url is not None:
        require_own_url(id, template.url, settings.ALLOWED_HOSTS)
    targets = existing_targets_of(to, topic_registry())
    if at is not None:
        return schedule(at, template, targets)
    store(template, targets)
    return None


@overload
async def anotify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    group: str | None = None,
    using: str | None = None,
    at: None = None,
) -> None: ...


@overload
async def anotify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    group: str | None = None,
    using: str | None = None,
    at: datetime,
) -> str: ...


async def anotify(
    to: Recipient,
    id: str,
    data: object = None,
    *,
    title: str | None = None,
    url: str | None = None,
    group: str | None = None,
    using: str | None = None,
    at: datetime | None = None,
) -> str | None:
    """`notify` for async code."""
    call: Callable[..., str | None] = notify
    return await sync_to_async(call)(to, id, data, title=title, url=url, group=group, using=using, at=at)
