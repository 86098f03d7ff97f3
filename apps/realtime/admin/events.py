"""The stored events (docs/admin.md, "Events")."""

import re
from typing import Any, Final

from django.contrib import admin
from django.db.models import F, Max, QuerySet
from django.http import HttpRequest

from ..models import StoredEvent
from ..stored import Progress, stored_events, with_progress
from .reading import LISTED_MAX, WORDS_MAX, ReadingAdmin, streams_meant

# What has no index, the mid and the event's id, is looked for among so many of the newest rows: 0.1 s on PostgreSQL
# 15, of a million.
SEARCHED_MAX: Final = 200_000
_MID: Final = re.compile("[0-9a-f]{32}")


class ProgressFilter(admin.SimpleListFilter):
    """What has not left, each by an index that holds nothing else."""

    title = "progress"
    parameter_name = "progress"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unnumbered", Progress.UNNUMBERED.value), ("unpublished", Progress.UNPUBLISHED.value)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "unnumbered":
                return queryset.filter(seq__isnull=True)
            case "unpublished":
                return queryset.filter(seq__isnull=False, confirmed_at__isnull=True)
        return queryset


@admin.register(StoredEvent)
class StoredEventAdmin(ReadingAdmin):
    """Newest first; found by user, stream, mid or id."""

    list_display = ("id", "stream", "seq", "event_id", "progress", "created_at", "mid")
    list_filter = (ProgressFilter,)
    fields = (*list_display, "epoch", "leased_until", "confirmed_at", "frame")
    search_help_text = (
        "A user (name or key) or a stream, the mid or the id of an event, or both with a blank between them. Mids and "
        f"ids are looked for among the newest {SEARCHED_MAX:,} events; the newest {LISTED_MAX:,} that were found are "
        "listed."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_progress(super().get_queryset(request).defer("frame"))

    @admin.display(description="progress")
    def progress(self, event: Any) -> str:
        """How far it has come."""
        return str(event.progress)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        words = search_term.split()
        if len(words) > WORDS_MAX:
            return queryset.none(), False
        by_stream = False
        for word in words:
            if _MID.fullmatch(word):
                queryset = queryset.filter(mid=word)
            elif streams := streams_meant(word):
                queryset = queryset.filter(stream__in=streams)
                by_stream = True
            else:
                queryset = queryset.filter(event_id=word)
        if words and not by_stream:
            newest = stored_events().aggregate(newest=Max("id"))["newest"] or 0
            queryset = queryset.filter(id__gt=newest - SEARCHED_MAX)
        if words or request.GET.get(ProgressFilter.parameter_name):
            # Not by the primary key's own index: a planner that expects many hits would walk over the whole table.
            return queryset.order_by((F("id") + 0).desc()), False
        return queryset.order_by("-id"), False
