"""Where the streams stand (docs/admin.md, "Streams")."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from ..models import Stream
from ..stored import Unsent, unsent
from .reading import LISTED_MAX, ReadingAdmin, streams_meant


class StreamList(ChangeList):
    """Counts what is unsent of the streams of a page together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        waiting = unsent([stream.name for stream in self.result_list])
        for stream in self.result_list:
            stream.unsent = waiting.get(stream.name, Unsent())


@admin.register(Stream)
class StreamAdmin(ReadingAdmin):
    """In the order of names; found by user or name."""

    list_display = ("name", "head", "floor", "epoch", "not_numbered", "not_published", "changed_at", "events")
    fields = list_display
    search_help_text = f"A user (name or key), or the whole name of a stream. The first {LISTED_MAX:,} are listed."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StreamList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        name = search_term.strip()
        if name:
            queryset = queryset.filter(name__in=streams_meant(name))
        return queryset.order_by("name"), False

    @admin.display(description="not numbered")
    def not_numbered(self, stream: Any) -> int:
        """Events that wait for their number."""
        return _unsent(stream).unnumbered

    @admin.display(description="not published")
    def not_published(self, stream: Any) -> int:
        """Events that wait for the broker."""
        return _unsent(stream).unpublished

    @admin.display(description="events")
    def events(self, stream: Any) -> str:
        """Where its events are."""
        address = reverse("admin:message_flow_storedevent_changelist", current_app=self.admin_site.name)
        return format_html('<a href="{}?{}">Events</a>', address, urlencode({"q": stream.name}))


def _unsent(stream: Any) -> Unsent:
    if not hasattr(stream, "unsent"):
        stream.unsent = unsent([stream.name]).get(stream.name, Unsent())
    found: Unsent = stream.unsent
    return found
