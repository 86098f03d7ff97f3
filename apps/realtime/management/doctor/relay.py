"""Whether a relay is alive, seen by what it does (docs/doctor.md)."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from ...conf import realtime_settings
from ...core.events import SEQ_MAX_BYTES, EventTemplate
from ...models import StoredEvent
from ...tracing import new_mid
from .findings import Finding, fail, ok, warn
from .probe import PROBE_ID, PROBE_STREAM

# It takes what nobody has numbered for 2 s, and looks every second.
NUMBERED_SECS: Final = 8.0
CONFIRMED_SECS: Final = 5.0
WITHIN_SECS: Final = NUMBERED_SECS + CONFIRMED_SECS
# What a relay that runs has long taken care of.
LEFT_AFTER: Final = timedelta(seconds=60)
# A backlog may be long, and its exact length tells nobody more.
COUNT_MAX: Final = 1_000
_LOOK_EVERY_SECS: Final = 0.05
_ADVICE: Final = "start manage.py realtime relay (message-flow-relay.service), or read its log"


def look_at_relay() -> Iterator[Finding]:
    """What waits for it, and whether it takes an event that is left for it.

    The event goes to a stream that nobody has. It is stored as by a process that dies at once: only a relay numbers it.
    """
    yield from _what_waits()
    events = StoredEvent.objects.using(realtime_settings().database)
    left = _leave_an_event(events)
    began = time.monotonic()
    if not _happens(events.filter(id=left, seq__isnull=False), NUMBERED_SECS):
        # So that it is not found by a relay that starts tomorrow.
        events.filter(id=left, seq__isnull=True).delete()
        yield fail(f"no relay has taken an event that was left for it, within {NUMBERED_SECS:.0f} s", _ADVICE)
        return
    numbered_secs = time.monotonic() - began
    if not _happens(events.filter(id=left, confirmed_at__isnull=False), CONFIRMED_SECS):
        yield fail(
            f"a relay numbers what is left for it, but has not published it within {CONFIRMED_SECS:.0f} s",
            "its link to the broker is down: read its log",
        )
        return
    published_secs = time.monotonic() - began
    yield ok(
        f"it numbered an event that was left for it after {numbered_secs:.1f} s, and published it after "
        f"{published_secs:.1f} s"
    )


def _what_waits() -> Iterator[Finding]:
    old = StoredEvent.objects.using(realtime_settings().database).filter(created_at__lt=Now() - LEFT_AFTER)
    unnumbered = _count(old.filter(seq__isnull=True))
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=Now() - LEFT_AFTER)
    unpublished = _count(old.filter(free, seq__isnull=False, confirmed_at__isnull=True))
    for count, what in ((unnumbered, "not numbered"), (unpublished, "not published")):
        if count:
            many = f"{COUNT_MAX:,} or more" if count > COUNT_MAX else f"{count:,}"
            yield warn(f"{many} events are {what} since {LEFT_AFTER.seconds} s or longer", _ADVICE)


def _count(events: QuerySet[StoredEvent]) -> int:
    return len(events.order_by().values_list("id", flat=True)[: COUNT_MAX + 1])


def _leave_an_event(events: QuerySet[StoredEvent]) -> int:
    event = EventTemplate(PROBE_ID, None, DjangoJSONEncoder).for_stream(
        PROBE_STREAM, mid=new_mid(), ts=time.time(), room_bytes=SEQ_MAX_BYTES
    )
    return events.create(stream=event.stream, mid=event.mid, event_id=event.id, frame=event.frame).pk


def _happens(events: QuerySet[StoredEvent], within_secs: float) -> bool:
    return wait_for(events.exists, within_secs)


def wait_for(condition: Callable[[], Any], within_secs: float, every_secs: float = _LOOK_EVERY_SECS) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + within_secs
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_secs)
    return True
