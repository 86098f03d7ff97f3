"""Times of the database's clock, for people and programs outside (docs/inbox.md)."""

from datetime import UTC, datetime

from django.db import connections
from django.utils.timezone import get_default_timezone, is_naive

from .conf import realtime_settings


def database_time(when: datetime) -> datetime:
    """The value of a column of REALTIME_DATABASE that `Now()` has set, with a time zone.

    Without USE_TZ it comes without one: from SQLite in UTC, from PostgreSQL in the zone of the site.
    """
    if not is_naive(when):
        return when
    site = get_default_timezone()
    on_sqlite = connections[realtime_settings().database].vendor == "sqlite"
    return when.replace(tzinfo=UTC).astimezone(site) if on_sqlite else when.replace(tzinfo=site)
