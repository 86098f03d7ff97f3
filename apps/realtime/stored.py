"""What has not left the database, and what was stored last, for people who look for an event (docs/commands.md)."""

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from django.db.models import Case, CharField, Count, Q, QuerySet, Value, When
from django.db.models.functions import Now

from .conf import realtime_settings
from .models import StoredEvent


class Progress(StrEnum):
    """How far an event has come."""

    UNNUMBERED = "waits for its number"
    LEASED = "is being published"
    UNPUBLISHED = "waits for the broker"
    PUBLISHED = "published"


class Unsent(NamedTuple):
    """How many events of a stream wait for a number, and how many with one for the broker."""

    unnumbered: int = 0
    unpublished: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return sum(self)


def unsent(streams: Collection[str]) -> dict[str, Unsent]:
    """Of each of the streams that has any, in two queries, each on an index that holds nothing but such events."""
    events = stored_events().filter(stream__in=streams).order_by()
    unnumbered, unpublished = (
        dict(events.filter(which).values_list("stream").annotate(Count("id")))
        for which in (Q(seq__isnull=True), Q(seq__isnull=False, confirmed_at__isnull=True))
    )
    return {
        stream: Unsent(unnumbered.get(stream, 0), unpublished.get(stream, 0)) for stream in unnumbered | unpublished
    }


def last_events(stream: str, epoch: str, count: int) -> list[StoredEvent]:
    """The newest events of a stream, newest first, in two queries: what waits for a number, then its numbering.

    Each has `progress`, see `with_progress`.
    """
    events = with_progress(stored_events().filter(stream=stream).defer("frame"))
    waiting = list(events.filter(seq=None).order_by("-id")[:count])
    return waiting + list(events.filter(epoch=epoch).order_by("-seq")[: count - len(waiting)])


def with_progress(events: QuerySet[StoredEvent]) -> QuerySet[StoredEvent]:
    """The same events, each with how far it has come as `progress`."""
    return events.annotate(
        progress=Case(
            When(seq__isnull=True, then=Value(Progress.UNNUMBERED.value)),
            When(confirmed_at__isnull=False, then=Value(Progress.PUBLISHED.value)),
            When(leased_until__gt=Now(), then=Value(Progress.LEASED.value)),
            default=Value(Progress.UNPUBLISHED.value),
            output_field=CharField(),
        )
    )


def stored_events() -> QuerySet[StoredEvent]:
    """All of them."""
    return StoredEvent.objects.using(realtime_settings().database)
