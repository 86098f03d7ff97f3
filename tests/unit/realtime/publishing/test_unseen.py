"""Receivers are told of what no tab has acknowledged (docs/unseen.md)."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries, Settings

from apps.realtime import EVERYONE, Topic, notification_unseen, notify
from apps.realtime.conf import realtime_settings
from apps.realtime.core.names import Stream
from apps.realtime.core.resume import Cursor
from apps.realtime.history import deployment_epoch
from apps.realtime.inbox import changes
from apps.realtime.models import InboxItem, StoredEvent, Unseen
from apps.realtime.models import Stream as StreamRow
from apps.realtime.publishing import unseen as module
from apps.realtime.publishing.sequencer import number
from apps.realtime.publishing.targets import user_target
from apps.realtime.publishing.unseen import LATE_MAX, LEASE, UnseenWatch
from apps.realtime.topics import TopicRegistry
from apps.realtime.unseen.acknowledged import write_acknowledged
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db
AFTER_SECS = 900.0
# Nodes write down what was acknowledged every ten seconds.
DUE = timedelta(seconds=AFTER_SECS + 10)
Told = list[tuple[Any, list[str], int]]


@pytest.fixture(autouse=True)
def _switched_on(settings: Settings) -> None:
    settings.REALTIME_UNSEEN_AFTER_SECS = AFTER_SECS


@pytest.fixture
def told() -> Iterator[Told]:
    """User, titles and count of each signal."""
    told: Told = []

    def receive(sender: Any, user: Any, items: list[InboxItem], count: int, **kwargs: Any) -> None:
        assert sender is InboxItem
        told.append((user, [item.title for item in items], count))

    notification_unseen.connect(receive)
    yield told
    assert notification_unseen.disconnect(receive)


@pytest.fixture
def watch() -> UnseenWatch:
    return UnseenWatch(realtime_settings())


def tell(user: Any, *titles: str, event_id: str = "x") -> None:
    """And number it."""
    for title in titles:
        notify(user, event_id, title=title)
    number([user_target(str(user.pk)).stream])


def pass_time(time: timedelta = DUE) -> None:
    Unseen.objects.update(due_at=F("due_at") - time)
    InboxItem.objects.update(created_at=F("created_at") - time)


def acknowledge(user: Any, seq: int, epoch: str | None = None) -> None:
    stream = user_target(str(user.pk)).stream
    write_acknowledged({stream: Cursor(epoch or deployment_epoch(), seq)})


def waiting() -> int:
    return Unseen.objects.count()


def test_one_signal_a_user_when_the_time_has_passed(watch: UnseenWatch, told: Told, make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    tell(alice, "first", "second")
    tell(bob, "other")
    assert watch.turn() is False
    pass_time(DUE - timedelta(seconds=30))
    assert (watch.turn(), told) == (False, [])
    pass_time(timedelta(seconds=60))
    assert watch.turn() is False
    assert told == [(alice, ["second", "first"], 2), (bob, ["other"], 1)]
    pass_time(10 * DUE)
    assert (watch.turn(), len(told), waiting()) == (False, 2, 0)


def test_what_a_tab_has_acknowledged_is_told_to_nobody(watch: UnseenWatch, told: Told, make_user: MakeUser) -> None:
    alice, bob, carol = make_user("alice"), make_user("bob"), make_user("carol")
    for user in (alice, bob, carol):
        tell(user, "one", "two", "three")
    acknowledge(alice, 3)
    acknowledge(bob, 2)
    # Of another numbering.
    acknowledge(carol, 3, epoch="other")
    pass_time()
    watch.turn()
    assert told == [(bob, ["three"], 1), (carol, ["three", "two", "one"], 3)]
    assert waiting() == 0


def test_events_that_were_trimmed_are_judged_by_where_the_stream_begins(
    watch: UnseenWatch, told: Told, make_user: MakeUser
) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    for user in (alice, bob):
        tell(user, "one", "two", "three")
    acknowledge(alice, 2)
    acknowledge(bob, 1)
    StoredEvent.objects.filter(seq__lte=2).delete()
    StreamRow.objects.update(floor=2)
    pass_time()
    watch.turn()
    # Of bob's one is known to be acknowledged no more: rather once too often.
    assert told == [(alice, ["three"], 1), (bob, ["three", "two", "one"], 3)]


def test_what_was_read_hidden_or_muted_is_told_to_nobody(watch: UnseenWatch, told: Told, make_user: MakeUser) -> None:
    alice = make_user("alice")
    target = user_target(str(alice.pk))
    tell(alice, "read", "hidden", "seen by nobody")
    tell(alice, "muted", event_id="noise")
    mid = dict(InboxItem.objects.values_list("title", "mid"))
    changes.read(target, [mid["read"]])
    changes.hide(target, [mid["hidden"]])
    changes.mute(target, "noise")
    pass_time()
    watch.turn()
    assert told == [(alice, ["seen by nobody"], 1)]
    assert waiting() == 0


def test_a_group_is_told_once(watch: UnseenWatch, told: Told, make_user: MakeUser) -> None:
    alice = make_user()
    for title in ("1 comment", "2 comments"):
        notify(alice, "x", title=title, group="article-1")
    number([user_target(str(alice.pk)).stream])
    pass_time()
    watch.turn()
    assert told == [(alice, ["2 comments"], 1)]


def test_what_is_in_no_inbox_is_not_watched(topics: TopicRegistry, make_user: MakeUser, settings: Settings) -> None:
    alice = make_user()
    notify([alice, Topic("news"), EVERYONE], "no title")
    notify([Topic("news"), EVERYONE], "x", title="No user")
    assert waiting() == 0
    settings.REALTIME_UNSEEN_AFTER_SECS = None
    notify(alice, "x", title="Switched off")
    assert waiting() == 0


def test_a_user_is_told_of_what_follows_in_one_more_batch(watch: UnseenWatch, told: Told, make_user: MakeUser) -> None:
    alice = make_user()
    tell(alice, "first")
    pass_time(DUE - timedelta(seconds=60))
    for number_ in range(3):
        tell(alice, f"later {number_}")
        pass_time(timedelta(seconds=20))
    pass_time(timedelta(seconds=5))
    watch.turn()
    assert told == [(alice, ["first"], 1)]
    # They are due one after the other, and wait for each other.
    for _ in range(9):
        pass_time(timedelta(seconds=100))
        watch.turn()
    assert told[1:] == [(alice, ["later 2", "later 1", "later 0"], 3)]


def test_who_is_gone_or_may_not_sign_in_is_told_nothing(watch: UnseenWatch, told: Told, make_user: MakeUser) -> None:
    users = [make_user("gone"), make_user("inactive"), make_user("strange")]
    for user in users:
        tell(user, "x")
    # As `QuerySet.delete` of a model without signals leaves it.
    get_user_model().objects.filter(pk=users[0].pk)._raw_delete("default")
    get_user_model().objects.filter(pk=users[1].pk).update(is_active=False)
    # The key of a user model that the project had before.
    InboxItem.objects.filter(user_id=str(users[2].pk)).update(user_id="strange")
    pass_time()
    watch.turn()
    assert (told, waiting()) == ([], 0)


# Receivers ---------------------------------------------------------------------------------------


def test_a_receiver_that_raises_keeps_no_other_from_being_told(
    watch: UnseenWatch, told: Told, make_user: MakeUser
) -> None:
    def broken(**kwargs: Any) -> None:
        raise OSError("the mail server is away")

    notification_unseen.connect(broken)
    try:
        tell(make_user(), "x")
        pass_time()
        watch.turn()
        pass_time(2 * LEASE)
        watch.turn()
    finally:
        notification_unseen.disconnect(broken)
    assert (len(told), waiting()) == (1, 0)


def test_where_every_receiver_raises_the_batch_comes_again_for_a_day(watch: UnseenWatch, make_user: MakeUser) -> None:
    calls: list[int] = []

    def broken(count: int, **kwargs: Any) -> None:
        calls.append(count)
        raise OSError("the mail server is away")

    notification_unseen.connect(broken)
    try:
        tell(make_user(), "x")
        pass_time()
        watch.turn()
        watch.turn()
        assert calls == [1]
        pass_time(LEASE)
        watch.turn()
        assert (calls, waiting()) == ([1, 1], 1)
        pass_time(LATE_MAX)
        watch.turn()
        assert (calls, waiting()) == ([1, 1], 0)
    finally:
        notification_unseen.disconnect(broken)


def test_without_receivers_it_is_done(watch: UnseenWatch, make_user: MakeUser) -> None:
    tell(make_user(), "x")
    pass_time()
    watch.turn()
    assert waiting() == 0


def test_a_crash_while_receivers_are_at_work_repeats(
    watch: UnseenWatch, told: Told, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_user()
    tell(alice, "x")
    pass_time()

    class Killed(BaseException):
        """As SIGKILL: nothing after it runs."""

    def dies(**kwargs: Any) -> None:
        raise Killed

    notification_unseen.connect(dies)
    try:
        with pytest.raises(Killed):
            watch.turn()
    finally:
        notification_unseen.disconnect(dies)
    told.clear()
    # Another relay, before the lease has run out and after it.
    other = UnseenWatch(realtime_settings())
    other.turn()
    assert told == []
    pass_time(LEASE)
    other.turn()
    assert told == [(alice, ["x"], 1)]


# Bounds ------------------------------------------------------------------------------------------


def test_a_batch_is_bounded(
    watch: UnseenWatch, told: Told, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 5)
    monkeypatch.setattr(module, "ITEMS_MAX", 3)
    monkeypatch.setattr(module, "LOOK_ROWS", 7)
    alice = make_user()
    tell(alice, *(f"{number_}" for number_ in range(7)))
    pass_time()
    assert watch.turn() is True
    assert told == [(alice, ["6", "5", "4"], 5)]
    assert (watch.turn(), len(told), waiting()) == (False, 1, 0)


def test_users_whose_stream_has_no_number_keep_it_from_nobody(
    watch: UnseenWatch, told: Told, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_ROWS", 2)
    # They are due in one moment, as those of one `notify` are: also what has the same time comes later.
    blocked = [make_user("alice"), make_user("bob")]
    notify(blocked, "x", title="not numbered")
    others = [make_user("carol"), make_user("dave"), make_user("erin")]
    for user in others:
        tell(user, "x")
    Unseen.objects.update(due_at=Now() - timedelta(seconds=1))
    # Nothing was claimed: no turn follows at once.
    assert (watch.turn(), told) == (False, [])
    assert (watch.turn(), [user for user, _, _ in told]) == (True, others[:2])
    assert (watch.turn(), [user for user, _, _ in told]) == (False, others)
    # It begins anew.
    assert (watch.turn(), waiting()) == (False, 2)
    number([user_target(str(user.pk)).stream for user in blocked])
    assert watch.turn() is False
    assert (watch.turn(), [user for user, _, _ in told[3:]], waiting()) == (True, blocked, 0)


def test_idle_it_costs_one_query_and_a_user_costs_the_same_whatever_the_number_of_items(
    watch: UnseenWatch, told: Told, make_user: MakeUser, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        watch.turn()
    alice, bob = make_user("alice"), make_user("bob")
    tell(alice, *(f"{number_}" for number_ in range(50)))
    tell(bob, "one")
    acknowledge(alice, 2)
    acknowledge(bob, 0)
    pass_time()
    # For each user two of the savepoint, ten of the claim, the user and the end.
    with django_assert_num_queries(1 + 2 * 14) as queries:
        watch.turn()
    assert [count for _, _, count in told] == [48, 1], queries.captured_queries


# The loop ----------------------------------------------------------------------------------------


def test_switched_off_it_does_nothing(settings: Settings) -> None:
    settings.REALTIME_UNSEEN_AFTER_SECS = None
    watch = UnseenWatch(realtime_settings())
    assert watch.turn() is False
    watch.start()
    assert "message-flow-unseen" not in [thread.name for thread in threading.enumerate()]
    watch.close()


def test_it_goes_on_after_a_failure_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=module.__name__)
    watch = UnseenWatch(replace(realtime_settings(), unseen_after_secs=0.02))
    answers: list[Exception | bool] = [OperationalError("a\nway"), OperationalError("a\nway"), True, False]
    enough = threading.Event()

    def turn() -> bool:
        answer = answers.pop(0) if answers else False
        if not answers:
            enough.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(watch, "turn", turn)
    watch.start()
    assert enough.wait(10)
    watch.close()
    assert not watch._thread.is_alive()
    assert [record.getMessage() for record in caplog.records] == [
        "Unseen notifications wait: OperationalError: a way. Trying again",
        "Unseen notifications are told again",
    ]


def test_a_stop_ends_it_between_two_users(
    watch: UnseenWatch, told: Told, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        tell(make_user(name), "x")
    pass_time()

    def stop_after(items: list[InboxItem]) -> None:
        UnseenWatch._tell(watch, items)
        watch.close()

    monkeypatch.setattr(watch, "_tell", stop_after)
    watch.turn()
    assert (len(told), waiting()) == (1, 1)


def test_a_stream_that_has_no_number_yet_waits_for_it(watch: UnseenWatch, told: Told, make_user: MakeUser) -> None:
    alice = make_user()
    notify(alice, "x", title="not numbered")
    pass_time()
    watch.turn()
    assert (told, waiting()) == ([], 1)
    number([Stream(f"user.{alice.pk}")])
    watch.turn()
    assert told == [(alice, ["not numbered"], 1)]
