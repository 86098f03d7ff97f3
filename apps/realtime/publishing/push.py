"""`push`: ephemeral events (docs/publishing.md)."""

import time

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from ..core.events import Event, EventTemplate
from ..topics import topic_registry
from ..tracing import enabled, new_mid, step
from .process import publishing_process
from .targets import Recipient, streams_of


def push(to: Recipient, id: str, data: object = None, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Send an event to every open tab of its recipients, at most once, storing nothing.

    The call never waits for the broker and is the same in sync and async code. Inside a transaction of the database
    `using` it takes effect after the commit, and not at all after a rollback.

    Args:
        to: a user, a user's primary key, `Topic(name)`, `EVERYONE`, or an iterable of these.
        id: what the event is called, such as `comment/ADDED`.
        data: anything that Django's JSON encoder takes, 256 KiB at most.

    Raises:
        BadEvent: a reserved or unusable id, data that is no JSON or too large.
        BadRecipient: `to` names nobody.
        UnknownTopic: a topic that no `@topic` pattern declares.
    """
    publish_after_commit(events_for(to, id, data), using)


def events_for(to: Recipient, id: str, data: object) -> list[Event]:
    """The ephemeral events that `push` sends: one for each stream."""
    template = EventTemplate(id, data, DjangoJSONEncoder)
    now = time.time()
    return [template.for_stream(stream, mid=new_mid(), ts=now) for stream in streams_of(to, topic_registry())]


def publish_after_commit(events: list[Event], using: str) -> None:
    """Hand the events over, in a transaction of this database after its commit; nobody waits for the broker."""
    # Asking `on_commit` outside a transaction would open a database connection, in the event loop too.
    if connections[using].in_atomic_block:
        transaction.on_commit(lambda: _publish(events), using=using, robust=True)
    else:
        _publish(events)


def _publish(events: list[Event]) -> None:
    publisher = publishing_process().publisher
    if enabled():
        for event in events:
            step("pushed", event.stream, event.id, event.mid)
    for event in events:
        publisher.publish(event)
