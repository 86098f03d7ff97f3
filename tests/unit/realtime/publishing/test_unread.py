"""Counts and groups while events are numbered (docs/inbox.md)."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.realtime import EVERYONE, Topic, notify
from apps.realtime.core.events import UNCOUNTED, UNREAD_MAX, Event
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from apps.realtime.history import PageRequest, deployment_epoch, pages
from apps.realtime.models import InboxItem, StoredEvent
from apps.realtime.models import Stream as StreamRow
from apps.realtime.publishing import unread as module
from apps.realtime.publishing.inbox import tell_change
from apps.realtime.publishing.sequencer import number
from apps.realtime.publishing.targets import user_target
from apps.realtime.topics import TopicRegistry
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db


def counts(events: Iterable[Event]) -> list[int | None]:
    return [json.loads(event.frame).get("unread") for event in events]


def visible() -> list[str]:
    return list(InboxItem.objects.filter(hidden=False).order_by("id").values_list("title", flat=True))


def test_what_is_about_the_inbox_carries_the_count_and_nothing_else_does(
    make_user: MakeUser, topics: TopicRegistry
) -> None:
    user, other = make_user(), make_user("bob")
    mine = user_stream(str(user.pk))
    notify(user, "plain")
    notify([user, EVERYONE, Topic("news")], "told", title="One")
    notify([user, other], "told", title="Two")
    events = number([mine, user_stream(str(other.pk)), ALL, topic_stream("news")])
    assert counts(event for event in events if event.stream == mine) == [None, 2, 2]
    assert counts(event for event in events if event.stream in (ALL, "topic.news")) == [None, None]
    assert counts(event for event in events if event.stream == user_stream(str(other.pk))) == [1]
    # The same from history, for who comes back.
    [page] = pages([PageRequest(mine, deployment_epoch(), 0)]).values()
    assert [event.frame for event in page] == [event.frame for event in events if event.stream == mine]


def test_a_later_event_counts_anew(make_user: MakeUser) -> None:
    target = user_target(str(make_user().pk))
    notify(target.user_id, "x", title="One")
    assert counts(number([target.stream])) == [1]
    InboxItem.objects.update(hidden=True)
    tell_change(target, hidden=["m"])
    notify(target.user_id, "x", title="Two")
    assert counts(number([target.stream])) == [1, 1]
    assert list(StoredEvent.objects.order_by("id").values_list("unread", flat=True)) == [1, 1, 1]


def test_counting_stops_at_a_thousand(make_user: MakeUser) -> None:
    target = user_target(str(make_user().pk))
    InboxItem.objects.bulk_create(
        InboxItem(stream=target.stream, user_id="", mid=f"m{n}", event_id="x", title="t") for n in range(UNREAD_MAX + 5)
    )
    tell_change(target)
    assert counts(number([target.stream])) == [UNREAD_MAX]


def test_of_a_group_the_last_one_stays_for_each_user(make_user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDS_MAX", 1)
    ann, ben = make_user("ann"), make_user("ben")
    streams = [user_stream(str(user.pk)) for user in (ann, ben)]
    notify([ann, ben], "x", title="1 comment", group="article-1")
    notify(ann, "x", title="other", group="article-2")
    notify(ann, "x", title="none")
    assert sorted(counts(number(streams)), key=str) == [1, 3, 3, 3]
    notify(ann, "x", title="2 comments", group="article-1")
    notify(ann, "x", title="3 comments", group="article-1")
    assert counts(number(streams)) == [3, 3]
    assert visible() == ["1 comment", "other", "none", "3 comments"]
    assert list(InboxItem.objects.filter(hidden=False, user_id=str(ben.pk)).values_list("title", flat=True)) == [
        "1 comment"
    ]


def test_one_stays_in_whatever_order_they_are_committed_and_numbered(make_user: MakeUser) -> None:
    stream = user_stream(str(make_user().pk))
    mids = [f"{n:032x}" for n in range(2)]
    for mid in mids:
        InboxItem.objects.create(stream=stream, user_id="1", mid=mid, event_id="x", title=mid[-1], group="g")
    for mid in reversed(mids):
        StoredEvent.objects.create(stream=stream, event_id="x", mid=mid, frame='{"id":"x"}', unread=UNCOUNTED)
        assert counts(number([stream])) == [1]
        assert visible() == ["1"]


def test_what_was_left_of_any_group_is_hidden_with_the_next_event_of_the_inbox(make_user: MakeUser) -> None:
    target, other = (user_target(str(make_user(name).pk)) for name in ("ann", "ben"))
    for title in ("Old", "New"):
        notify([target.user_id, other.user_id], "x", title=title, group="g")
    # As if somebody had held the older ones: tests/services/test_inbox.py.
    StoredEvent.objects.all().delete()
    for one in (target, other):
        StreamRow.objects.create(name=one.stream, epoch=deployment_epoch(), crowded=True)
    notify(target.user_id, "plain")
    assert counts(number([target.stream])) == [None]
    assert visible() == ["Old", "Old", "New", "New"]
    tell_change(target)
    assert counts(number([target.stream, other.stream])) == [1]
    assert list(InboxItem.objects.filter(hidden=True).values_list("stream", "title")) == [(target.stream, "Old")]
    assert list(StreamRow.objects.filter(crowded=True).values_list("name", flat=True)) == [other.stream]


@pytest.mark.django_db(transaction=True)
def test_an_error_leaves_everything_as_it_was(make_user: MakeUser) -> None:
    stream = user_stream(str(make_user().pk))
    for title in ("One", "Two"):
        notify(stream.removeprefix("user."), "x", title=title, group="g")

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if "SET unread = counted" in sql:
            raise ZeroDivisionError
        return execute(sql, *rest)

    with connection.execute_wrapper(fail), pytest.raises(ZeroDivisionError):
        number([stream])
    assert (visible(), list(StoredEvent.objects.values_list("seq", "unread"))) == (
        ["One", "Two"],
        [(None, UNCOUNTED)] * 2,
    )
    assert counts(number([stream])) == [1, 1]
    assert visible() == ["Two"]


def test_it_costs_the_same_for_one_and_for_many(make_user: MakeUser) -> None:
    users = [make_user(f"user{n}") for n in range(5)]
    streams = [user_stream(str(user.pk)) for user in users]

    def queries(recipients: list[object], events: int) -> int:
        for n in range(events):
            notify(recipients, "x", title=f"{n}", group="g")
        with CaptureQueriesContext(connection) as captured:
            number(streams)
        return len(captured)

    queries(users[:], 2)
    assert queries(users[:1], 2) == queries(users[:], 20)


def test_without_inbox_events_there_is_nothing_to_count() -> None:
    with CaptureQueriesContext(connection) as captured:
        assert module.counted(connection, [], set()) == {}
    assert len(captured) == 0
    notify(EVERYONE, "x", title="for all")
    assert counts(number([Stream("all")])) == [None]
