"""`realtime publish` and `realtime notify`: send one event and tell what became of it (docs/commands.md)."""

import json
from queue import Empty, SimpleQueue
from typing import Any, Final

from django.core.management.base import CommandError

from ..conf import realtime_settings
from ..models import StoredEvent
from ..publishing.notify import notify
from ..publishing.process import publishing_process
from ..publishing.push import events_for
from ..publishing.targets import Recipient, streams_of
from ..topics import topic_registry

TIMEOUT_SECS: Final = 5.0


def send_ephemeral(to: Recipient, event_id: str, data: Any) -> str:
    """Publish the event; returns the line that says so.

    Raises:
        CommandError: nobody has confirmed it.
    """
    outcomes: SimpleQueue[bool] = SimpleQueue()
    publisher = publishing_process().publisher
    events = events_for(to, event_id, data)
    for event in events:
        publisher.publish(event, lambda _, confirmed: outcomes.put(confirmed))
    for _ in events:
        try:
            confirmed = outcomes.get(timeout=TIMEOUT_SECS)
        except Empty:
            raise CommandError(f"not confirmed within {TIMEOUT_SECS:.0f} s: {publisher.problem}") from None
        if not confirmed:
            raise CommandError(f"it may have reached nobody: {publisher.problem or 'the broker refused it'}")
    return f"published {event_id}"


def send_durable(to: Recipient, event_id: str, data: Any, *, title: str | None, url: str | None) -> tuple[str, bool]:
    """Store the event and wait until it has left; returns a line, and whether it has."""
    rows = StoredEvent.objects.using(realtime_settings().database).filter(
        stream__in=streams_of(to, topic_registry()), event_id=event_id
    )
    last = rows.order_by("-id").values_list("id", flat=True).first() or 0
    notify(to, event_id, data, title=title, url=url)
    publishing_process().outbox.flush(TIMEOUT_SECS)
    if not rows.filter(id__gt=last, confirmed_at=None).exists():
        return f"stored and published {event_id}", True
    problem = publishing_process().publisher.problem or f"not confirmed within {TIMEOUT_SECS:.0f} s"
    return f"stored {event_id}, which a relay will publish: {problem}", False


def parsed(text: str) -> Any:
    """The data of `--data`.

    Raises:
        CommandError: it is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(f"--data {text!r} is no JSON: {error}") from error
