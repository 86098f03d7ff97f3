"""Pages and counts of an inbox (docs/inbox.md). Their speed: tests/services/test_inbox.py."""

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.realtime.core.events import UNREAD_MAX
from apps.realtime.inbox import listing
from apps.realtime.inbox.models import UNREAD, VISIBLE
from apps.realtime.models import InboxItem, InboxMute
from apps.realtime.publishing.targets import Target

from .conftest import Notified

pytestmark = pytest.mark.django_db


def test_it_is_read_page_by_page_the_newest_first(
    mine: Target, others: Target, notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE_ITEMS", 2)
    mids = notified(mine, 5)
    foreign = notified(others, 1)
    InboxItem.objects.filter(mid=mids[1]).update(hidden=True)
    first = listing.page(mine.stream)
    assert ([item.mid for item in first.items], first.next) == ([mids[4], mids[3]], mids[3])
    second = listing.page(mine.stream, first.next)
    assert ([item.mid for item in second.items], second.next) == ([mids[2], mids[0]], None)
    assert listing.page(mine.stream, mids[0]) == ([], None)
    # A hidden one is still a place.
    assert [item.mid for item in listing.page(mine.stream, mids[1]).items] == [mids[0]]
    for unknown in (*foreign, "0" * 32, "", "\0", "1", "x" * 10_000):
        assert listing.page(mine.stream, unknown) == ([], None)


def test_only_what_is_unread_and_visible_is_counted(mine: Target, others: Target, notified: Notified) -> None:
    mids = notified(mine, 4)
    notified(others, 3)
    InboxItem.objects.filter(mid=mids[0]).update(hidden=True)
    InboxItem.objects.filter(mid=mids[1]).update(read_at=timezone.now())
    assert listing.unread(mine.stream) == 2


def test_counting_stops_at_a_thousand(mine: Target) -> None:
    InboxItem.objects.bulk_create(
        InboxItem(stream=mine.stream, user_id="", mid=f"m{n}", event_id="x", title="t") for n in range(UNREAD_MAX + 5)
    )
    assert listing.unread(mine.stream) == UNREAD_MAX


def test_mutes_are_the_user_s_own(mine: Target, others: Target) -> None:
    for target, event_id in ((mine, "b"), (mine, "a"), (others, "c")):
        InboxMute.objects.create(stream=target.stream, event_id=event_id)
    assert listing.muted(mine.stream) == ["a", "b"]


def test_sqlite_reads_by_the_indexes(mine: Target) -> None:
    plans = [listing._newest(mine.stream).filter(which).explain() for which in (VISIBLE, UNREAD)]
    assert ["message_flow_inbox_visible" in plans[0], "message_flow_inbox_unread" in plans[1]] == [True, True]
    plans.append(listing.in_index_order(mine.stream).explain())
    assert "message_flow_inbox_read" in plans[2]
    assert "TEMP" not in "".join(plans)


def test_each_is_one_query(mine: Target, notified: Notified, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    [mid] = notified(mine, 1)
    with django_assert_num_queries(4):
        listing.page(mine.stream)
        listing.page(mine.stream, mid)
        listing.unread(mine.stream)
        listing.muted(mine.stream)
