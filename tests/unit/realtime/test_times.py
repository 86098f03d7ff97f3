"""What the database's clock says, whatever the site does about time zones (docs/inbox.md)."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils.timezone import now
from pytest_django import Settings

from apps.realtime.inbox.models import InboxItem
from apps.realtime.times import database_time


@pytest.mark.django_db
@pytest.mark.parametrize("use_tz", [True, False])
def test_a_row_that_was_just_made_is_of_now(settings: Settings, use_tz: bool) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    settings.USE_TZ = use_tz
    InboxItem.objects.create(stream="user.1", user_id="1", mid="m", event_id="x", title="t")
    at = InboxItem.objects.get().at
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=5)
    # Shown as it is: the site's own time.
    assert at.utcoffset() == (timedelta(0) if use_tz else timedelta(hours=9))


def test_a_time_with_a_zone_is_that_time() -> None:
    when = now().astimezone(ZoneInfo("Asia/Tokyo"))
    assert database_time(when) is when
