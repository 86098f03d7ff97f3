"""What was sent, and what the assertions say of it (docs/testing.md)."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.test import Client, TestCase
from django.utils import timezone

from apps.demo.models import Article
from apps.realtime import (
    EVERYONE,
    BadEvent,
    BadRecipient,
    Topic,
    UnknownTopic,
    cancel_scheduled,
    notify,
    push,
    revoke,
    task_progress,
)
from apps.realtime.models import StoredEvent
from apps.realtime.publishing.process import publishing_process
from apps.realtime.testing import Captured, capture_events
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db


def sent(captured: Captured) -> list[tuple[str, str]]:
    return [(event.stream, event.id) for event in captured.events]


def fail() -> None:
    with transaction.atomic():
        notify(EVERYONE, "rolled/BACK")
        push(EVERYONE, "rolled/BACK")
        with transaction.atomic():
            notify(EVERYONE, "inner/ROLLED_BACK")
        transaction.set_rollback(True)


def test_what_was_committed_counts_and_what_was_rolled_back_does_not(captured_events: Captured) -> None:
    push(EVERYONE, "a/PUSHED")
    fail()
    with transaction.atomic():
        notify(EVERYONE, "a/STORED")
        fail()
        with transaction.atomic():
            push(EVERYONE, "b/PUSHED")
    assert sorted(sent(captured_events)) == [("all", "a/PUSHED"), ("all", "a/STORED"), ("all", "b/PUSHED")]


@pytest.mark.django_db(transaction=True)
def test_the_same_where_a_test_commits(captured_events: Captured) -> None:
    push(EVERYONE, "a/PUSHED")
    fail()
    with transaction.atomic():
        notify(EVERYONE, "a/STORED")
        fail()
    assert sorted(sent(captured_events)) == [("all", "a/PUSHED"), ("all", "a/STORED")]


@pytest.mark.django_db(transaction=True)
def test_threads_of_a_test_that_commits(captured_events: Captured) -> None:
    def work() -> None:
        notify(EVERYONE, "n")
        push(EVERYONE, "m")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert sorted(sent(captured_events)) == [("all", "m"), ("all", "n")]


def test_an_open_block_decides_nothing_yet(captured_events: Captured) -> None:
    with transaction.atomic():
        notify(EVERYONE, "n")
        with pytest.raises(RuntimeError, match="block is open"):
            captured_events.assert_not_notified(EVERYONE)
    captured_events.assert_notified(EVERYONE, "n")


def test_an_event_as_browsers_get_it(captured_events: Captured, make_user: MakeUser) -> None:
    alice = make_user()
    notify(alice, "invoice/PAID", {"due": datetime(2026, 1, 2, tzinfo=UTC)}, title="Paid", url="/invoices/5/")
    push(alice, "cursor/MOVED")
    moved, paid = sorted(captured_events.of(alice), key=lambda event: event.id)
    assert (paid.id, paid.data, paid.title, paid.url) == (
        "invoice/PAID",
        {"due": "2026-01-02T00:00:00Z"},
        "Paid",
        "/invoices/5/",
    )
    assert (paid.stream, paid.durable) == (f"user.{alice.pk}", True)
    assert (moved.data, moved.title, moved.url, moved.durable) == (None, None, None, False)


def test_whom_it_was_sent_to(captured_events: Captured, make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    notify([alice, EVERYONE], "n")
    push(Topic("news"), "news/READ")
    for to in (alice, alice.pk, [alice, bob], EVERYONE):
        assert [event.id for event in captured_events.of(to)][:1] == ["n"], to
    assert captured_events.of(bob) == []
    assert [event.id for event in captured_events.of(Topic("news"))] == ["news/READ"]
    with pytest.raises(UnknownTopic):
        captured_events.of(Topic("nowhere"))
    with pytest.raises(BadRecipient):
        captured_events.assert_notified(None, "n")


def test_stored_events_stand_as_they_were_stored_and_pushed_ones_as_they_were_pushed(captured_events: Captured) -> None:
    for number in range(3):
        notify(EVERYONE, "n", number)
        push(Topic("news"), "p", number)
        notify(Topic("news"), "m", number)
    events = captured_events.events
    for durable, expected in ((True, ["n", "m"] * 3), (False, ["p"] * 3)):
        kind = [event for event in events if event.durable is durable]
        assert [event.id for event in kind] == expected
    assert [event.data for event in captured_events.of(Topic("news")) if event.id == "m"] == [0, 1, 2]


def test_progress_of_a_task(captured_events: Captured, make_user: MakeUser) -> None:
    alice = make_user()
    with task_progress(alice, "Import", total=2) as task:
        task.advance()
    state = {"task": task.id, "label": "Import", "done": 2, "total": 2}
    captured_events.assert_notified(alice, "task/DONE", data=state, times=1)
    captured_events.assert_notified(alice, "task/PROGRESS", data=state | {"done": 0})


def test_what_was_asked_for(captured_events: Captured, make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    due = datetime(2026, 1, 2, tzinfo=UTC)
    notify(alice, "n", {"due": due, "n": (1, 2)})
    notify(alice, "n", None)
    for asked in (
        {"due": due, "n": (1, 2)},
        {"n": [1, 2], "due": "2026-01-02T00:00:00Z"},
        {"due": ANY, "n": [1, ANY]},
        None,
    ):
        captured_events.assert_notified(alice, "n", data=asked, times=1)
    captured_events.assert_notified(alice, "n", times=2)
    captured_events.assert_notified(bob, "n", times=0)
    captured_events.assert_not_notified(bob)
    captured_events.assert_not_notified(alice, "m")


def test_failures_say_what_was_asked_and_what_was_sent(captured_events: Captured, make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    push(EVERYONE, "news/PUBLISHED", {"title": "é"})
    push(alice, "order/SHIPPED", {"order": 6})
    mine = f"user.{alice.pk}"
    tail = (
        f'Sent to {mine}:\n    push order/SHIPPED {{"order": 6}} to {mine}\n'
        'Sent to others:\n    push news/PUBLISHED {"title": "é"} to all'
    )
    with pytest.raises(AssertionError) as failure:
        captured_events.assert_notified(alice, "order/SHIPPED", data={"order": 5})
    assert str(failure.value) == f'order/SHIPPED {{"order": 5}} to {mine}: 0 times, and not at least once.\n{tail}'
    with pytest.raises(AssertionError) as failure:
        captured_events.assert_notified([alice], "order/SHIPPED", times=2)
    assert str(failure.value) == f"order/SHIPPED to {mine}: 1 times, and not 2 times.\n{tail}"
    # Each of several.
    with pytest.raises(AssertionError, match=rf"to user\.{bob.pk}: 0 times.*\n.*\n    nothing\n"):
        captured_events.assert_notified([alice, bob], "order/SHIPPED")
    with pytest.raises(AssertionError) as failure:
        captured_events.assert_not_notified([alice, bob])
    assert str(failure.value) == (
        f'1 events that should not have been sent:\n    push order/SHIPPED {{"order": 6}} to {mine}'
    )


def test_the_time_of_what_was_scheduled_comes(captured_events: Captured, make_user: MakeUser) -> None:
    alice, now = make_user(), timezone.now()
    notify(alice, "second", at=now + timedelta(days=2))
    notify(alice, "first", at=now + timedelta(days=1))
    notify(alice, "third", at=now + timedelta(days=3))
    canceled = notify(alice, "canceled", at=now + timedelta(days=1))
    assert cancel_scheduled(canceled)
    with transaction.atomic():
        notify(alice, "rolled/BACK", at=now)
        transaction.set_rollback(True)
    captured_events.fire_scheduled(until=now + timedelta(hours=23))
    captured_events.assert_not_notified(alice)
    with captured_events.browser(alice) as tab:
        captured_events.fire_scheduled(until=now + timedelta(days=2))
        captured_events.fire_scheduled(until=now + timedelta(days=2))
        assert tab.ids == ["first", "second"]
    assert [event.id for event in captured_events.of(alice)] == ["first", "second"]
    with pytest.raises(BadEvent, match="time zone"):
        captured_events.fire_scheduled(until=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def test_what_was_forgotten(captured_events: Captured) -> None:
    notify(EVERYONE, "n", 1)
    captured_events.clear()
    # What is forgotten leaves its place in memory to others.
    for number in range(2, 50):
        notify(EVERYONE, "n", number)
        assert [event.data for event in captured_events.events] == [number]
        captured_events.clear()


def test_what_processes_tell_each_other_is_no_event(captured_events: Captured, make_user: MakeUser) -> None:
    revoke(make_user(), Topic("news"))
    assert captured_events.events == []


def test_the_rows_are_as_after_a_commit_in_production(captured_events: Captured) -> None:
    notify(EVERYONE, "n", 1)
    assert len(captured_events.events) == 1
    row = StoredEvent.objects.get()
    assert row.seq == 1
    assert row.confirmed_at is not None


def test_what_was_sent_before_does_not_count(make_user: MakeUser) -> None:
    notify(EVERYONE, "before", 1)
    push(EVERYONE, "before", 1)
    with capture_events() as captured:
        notify(EVERYONE, "n", 2)
        assert [event.data for event in captured.events] == [2]


def test_it_ends_with_its_block() -> None:
    before = publishing_process()
    with capture_events() as captured:
        assert publishing_process() is not before
        with pytest.raises(RuntimeError, match="captured already"), capture_events():
            pass
        notify(EVERYONE, "n")
    assert publishing_process() is before
    captured.assert_not_notified(EVERYONE, "later")


def test_a_page_has_what_was_committed_before_its_request(
    captured_events: Captured, make_user: MakeUser, client: Client
) -> None:
    client.force_login(make_user())
    article = Article.objects.create(author=User.objects.get(), title="Title", body="")
    notify(Topic(article.topic), "comment/SAVED", 1)
    answer = json.loads(client.get(f"/demo/articles/{article.pk}/state/").content)
    assert answer["cursor"][f"topic.{article.topic}"]["seq"] == 1
    notify(Topic(article.topic), "comment/SAVED", 2)
    user: Any = User.objects.get()
    with captured_events.browser(user, topics=[article.topic], since=answer["cursor"]) as tab:
        assert [frame["data"] for frame in tab.frames] == [2]


def test_a_request_in_an_open_block_is_answered(captured_events: Captured, client: Client) -> None:
    with transaction.atomic():
        assert client.get("/healthz").status_code == 200


async def test_a_running_loop_is_told_the_async_way(captured_events: Captured) -> None:
    with pytest.raises(SynchronousOnlyOperation, match="sync_to_async"):
        captured_events.assert_notified(EVERYONE, "n")
    with pytest.raises(SynchronousOnlyOperation, match="in setUp"), capture_events():
        pass


class TestWithDjangosTestCase(TestCase):
    """Without pytest."""

    def setUp(self) -> None:
        self.captured = self.enterContext(capture_events())
        self.alice = User.objects.create_user("alice")

    def test_hooks_that_django_runs(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            transaction.on_commit(lambda: notify(self.alice, "stored/AFTER_COMMIT"))
            push(self.alice, "pushed/ONCE")
        self.captured.assert_notified(self.alice, "stored/AFTER_COMMIT", times=1)
        self.captured.assert_notified(self.alice, "pushed/ONCE", times=1)

    def test_hooks_that_django_does_not_run(self) -> None:
        notify(self.alice, "n")
        push(self.alice, "n")
        self.captured.assert_notified(self.alice, "n", times=2)
        self.captured.assert_notified(self.alice, "n", times=2)
