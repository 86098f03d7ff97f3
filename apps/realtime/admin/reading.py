"""What the pages have in common: they read, and what a page asks of the database has a bound (docs/admin.md)."""

from typing import Any, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from ..conf import realtime_settings
from ..core.names import Stream, is_stream, user_stream
from ..people import users_meant

# Rows that can be reached by turning pages; a count of millions takes seconds.
LISTED_MAX: Final = 10_000
# Words of one search; each may cost two queries.
WORDS_MAX: Final = 4


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # no class of Django's takes it at run time
    """Counts no further than it lists."""

    @cached_property
    def count(self) -> int:
        """How many rows can be reached."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:LISTED_MAX].count()


class ReadingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows of REALTIME_DATABASE and changes nothing.

    `get_search_results` of the subclass has to order the rows: sorting by another column could take the whole table.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None
    sortable_by = ()
    # Whatever can be searched for; it has to be something for the search to be shown.
    search_fields = ("pk",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(realtime_settings().database)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """No conditions on columns by the address: most have no index. The filters of the page are no columns."""
        return lookup in {getattr(one, "parameter_name", None) for one in self.list_filter}


def streams_meant(word: str) -> list[Stream]:
    """The stream of this name, or those of the users whom it may mean."""
    if is_stream(word):
        return [Stream(word)]
    return [user_stream(str(user.pk)) for user in users_meant(word)]
