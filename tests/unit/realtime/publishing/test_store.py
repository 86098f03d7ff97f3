"""The rows of `notify` leave after the commit, and only then (docs/publishing.md)."""

import json

import pytest
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from pytest_django import DjangoAssertNumQueries

from apps.realtime import EVERYONE, BadEvent, Topic, notify
from apps.realtime.core.events import FRAME_MAX_BYTES, SEQ_MAX_BYTES, UNCOUNTED, UNREAD_MAX, numbered
from apps.realtime.core.names import Stream
from apps.realtime.models import InboxItem, InboxMute, StoredEvent
from apps.realtime.publishing import process as module
from apps.realtime.publishing import store as store_module
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.topics import TopicRegistry
from tests.unit.conftest import MakeUser, Woken


def stored() -> list[tuple[str, str]]:
    return list(StoredEvent.objects.order_by("id").values_list("stream", "event_id"))


@pytest.mark.django_db
def test_the_largest_event_has_room_for_its_number(make_user: MakeUser) -> None:
    user = make_user()

    def text(length: int) -> str:
        return "y" * length

    notify(user, "x", "")
    room = FRAME_MAX_BYTES - SEQ_MAX_BYTES - len(StoredEvent.objects.get().frame)
    notify(user, "x", text(room))
    largest = StoredEvent.objects.latest("id")
    assert numbered(Stream(largest.stream), "x", largest.frame, "", "e", 2**63 - 1, UNREAD_MAX).size == FRAME_MAX_BYTES
    with pytest.raises(BadEvent, match="262"):
        notify(user, "x", text(room + 1))


@pytest.mark.django_db(transaction=True)
def test_a_failure_of_the_outbox_breaks_no_other_hook(
    process: PublishingProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def wake(self, streams: list[Stream]) -> None:
            raise RuntimeError("this outbox is broken")

    process._outbox = Broken()  # type: ignore[assignment]
    monkeypatch.setattr(module, "is_in_memory", lambda _: False)
    seen = []
    with transaction.atomic():
        notify(EVERYONE, "x")
        transaction.on_commit(lambda: seen.append("other hook"))
    assert seen == ["other hook"]
    assert "this outbox is broken" in caplog.text
    assert stored() == [("all", "x")]


@pytest.mark.django_db(transaction=True)
def test_a_database_in_memory_has_no_room_for_a_second_connection(process: PublishingProcess) -> None:
    assert connection.is_in_memory_db()  # type: ignore[attr-defined]
    notify(EVERYONE, "x")
    assert stored() == [("all", "x")]
    assert process._outbox is None


@pytest.mark.usefixtures("woken_by_class")
class TestInsideDjangosTestCase(TestCase):
    """A TestCase never commits: nothing leaves, and nothing waits."""

    woken: Woken

    def test_the_row_is_there_and_nothing_leaves(self) -> None:
        notify(EVERYONE, "x")
        assert stored() == [("all", "x")]
        assert self.woken == []

    def test_its_hooks_may_be_run(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            notify(EVERYONE, "x")
        assert len(callbacks) == 1
        # The row is not committed, so another connection would look for it in vain.
        assert self.woken == []


@pytest.mark.usefixtures("woken_by_class")
class TestInsideATransactionTestCase(TransactionTestCase):
    """Here it commits."""

    woken: Woken

    def test_it_leaves(self) -> None:
        with transaction.atomic():
            notify(EVERYONE, "x")
        assert self.woken == [["all"]]


@pytest.fixture
def woken_by_class(request: pytest.FixtureRequest, woken: Woken) -> None:
    """Hands the wake-ups to a test class of Django's."""
    request.cls.woken = woken


@pytest.mark.django_db
def test_a_title_puts_it_into_the_inbox_of_each_user_and_of_nobody_else(
    make_user: MakeUser, topics: TopicRegistry
) -> None:
    ann, ben = make_user("ann"), make_user("ben")
    notify([ann, EVERYONE, ben, Topic("news")], "x", title="Hello\n", url="/x/", group="g")
    notify(ann, "y", title="No link")
    notify(ann, "z", url="/only/")
    fields = ("stream", "user_id", "event_id", "title", "url", "group", "read_at", "hidden")
    assert list(InboxItem.objects.order_by("id").values_list(*fields)) == [
        (f"user.{ann.pk}", str(ann.pk), "x", "Hello", "/x/", "g", None, False),
        (f"user.{ben.pk}", str(ben.pk), "x", "Hello", "/x/", "g", None, False),
        (f"user.{ann.pk}", str(ann.pk), "y", "No link", "", None, None, False),
    ]
    events = StoredEvent.objects.order_by("id")
    assert list(events.values_list("stream", "event_id", "unread")) == [
        (f"user.{ann.pk}", "x", UNCOUNTED),
        ("all", "x", None),
        (f"user.{ben.pk}", "x", UNCOUNTED),
        ("topic.news", "x", None),
        (f"user.{ann.pk}", "y", UNCOUNTED),
        (f"user.{ann.pk}", "z", None),
    ]
    assert set(InboxItem.objects.values_list("mid", flat=True)) == set(
        events.filter(unread=UNCOUNTED).values_list("mid", flat=True)
    )


@pytest.mark.django_db
def test_who_has_muted_it_gets_the_event_without_its_texts_and_no_item(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_STREAMS_PER_QUERY", 1)
    ann, ben = make_user("ann"), make_user("ben")
    InboxMute.objects.create(stream=f"user.{ann.pk}", event_id="x")
    InboxMute.objects.create(stream=f"user.{ben.pk}", event_id="y")
    notify([ann, ben], "x", {"n": 1}, title="Hello", url="/x/")
    mine, other = StoredEvent.objects.order_by("id")
    assert (mine.unread, other.unread) == (None, UNCOUNTED)
    frame = json.loads(mine.frame)
    assert (frame["data"], "title" in frame, "url" in frame) == ({"n": 1}, False, False)
    assert json.loads(other.frame)["title"] == "Hello"
    assert [item.user_id for item in InboxItem.objects.all()] == [str(ben.pk)]


@pytest.mark.django_db
def test_what_an_event_costs(make_user: MakeUser, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    users = [make_user(name) for name in ("ann", "ben")]
    with django_assert_num_queries(1):
        notify(users, "x")
    with django_assert_num_queries(3):
        notify(users, "x", title="Hello")


@pytest.mark.django_db(transaction=True)
def test_a_rollback_takes_the_item_too(make_user: MakeUser) -> None:
    user = make_user()
    with transaction.atomic():
        notify(user, "x", title="Hello")
        transaction.set_rollback(True)
    assert not InboxItem.objects.exists()
