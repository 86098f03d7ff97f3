"""The tab of a test, through real sessions, hub and history (docs/testing.md)."""

import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.http import HttpRequest
from django.test import Client, TestCase

from apps.realtime import EVERYONE, Topic, anotify, cursor, notify, push, revoke, sign_out_everywhere
from apps.realtime.core.codes import CloseCode
from apps.realtime.testing import Captured, capture_events
from apps.realtime.topics import TopicRegistry
from tests.unit.conftest import MakeUser

ORDER = "topic.order-1"

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(make_user: MakeUser, topics: TopicRegistry) -> Any:
    return make_user("alice")


def data_of(frames: list[dict[str, Any]]) -> list[Any]:
    return [frame["data"] for frame in frames]


def test_it_gets_what_is_sent_to_its_user(captured_events: Captured, alice: Any, make_user: MakeUser) -> None:
    with captured_events.browser(alice) as tab:
        assert {name: told["state"] for name, told in tab.streams.items()} == {f"user.{alice.pk}": "new", "all": "new"}
        notify(alice, "invoice/PAID", {"invoice": 5}, title="Paid", url="/invoices/5/")
        push(make_user("bob"), "cursor/MOVED")
        push(EVERYONE, "news/PUBLISHED")
        frame = tab.receive("invoice/PAID")
        assert (frame["data"], frame["title"], frame["url"]) == ({"invoice": 5}, "Paid", "/invoices/5/")
        assert (frame["stream"], frame["seq"]) == (f"user.{alice.pk}", 1)
        assert tab.receive()["id"] == "news/PUBLISHED"
        assert sorted(tab.ids) == ["invoice/PAID", "news/PUBLISHED"]


def test_two_tabs_get_the_same_frames(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as one, captured_events.browser(alice) as other:
        for number in range(5):
            notify(alice, "n", number)
        assert one.frames == other.frames
        assert data_of(one.frames) == [0, 1, 2, 3, 4]
        assert [one.receive("n")["data"] for _ in range(5)] == [0, 1, 2, 3, 4]


def test_who_comes_back_gets_what_was_missed_and_nothing_twice(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as tab:
        notify(alice, "n", 1)
        assert tab.receive()["data"] == 1
        with tab.offline():
            notify(alice, "n", 2)
            push(alice, "lost")
            notify(alice, "n", 3)
        assert tab.streams[f"user.{alice.pk}"]["state"] == "recovered"
        assert data_of(tab.frames) == [1, 2, 3]


def test_more_than_a_window_arrives(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as tab:
        with tab.offline():
            for number in range(300):
                notify(alice, "n", number)
        assert data_of(tab.frames) == list(range(300))


def test_a_page_goes_on_where_its_cursor_was_taken(captured_events: Captured, alice: Any) -> None:
    request = HttpRequest()
    request.user = alice
    notify(Topic("order-1"), "order/CHANGED", 1)
    captured_events.clear()
    since = cursor(request, ["order-1"])
    notify(Topic("order-1"), "order/CHANGED", 2)
    with captured_events.browser(alice, topics=["order-1"], since=since) as tab:
        assert tab.streams[ORDER]["state"] == "recovered"
        assert data_of(tab.frames) == [2]


def test_topics_by_their_rules(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice, topics=["order-2"]) as tab:
        assert tab.streams["topic.order-2"]["state"] == "denied"
        assert [tab.subscribe("order-1"), tab.subscribe("order-2")] == ["new", "denied"]
        notify(Topic("order-1"), "order/CHANGED")
        notify(Topic("order-2"), "order/CHANGED")
        assert tab.receive("order/CHANGED")["stream"] == ORDER
        tab.unsubscribe("order-1")
        notify(Topic("order-1"), "order/CHANGED")
        assert len(tab.frames) == 1
        # It knows where it was.
        assert tab.subscribe("order-1") == "recovered"
        assert len(tab.frames) == 2


def test_a_right_that_is_lost(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice, topics=["order-1"]) as tab:
        revoke(alice, "order-1")
        assert tab.ids == []
        assert ORDER not in tab.streams
        push(Topic("order-1"), "order/CHANGED")
        assert tab.ids == []


def test_a_sign_in_that_ends(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as tab:
        assert tab.closed is None
        sign_out_everywhere(alice)
        assert tab.ids == []
        assert tab.closed == CloseCode.REVOKED


def test_who_is_not_active_is_refused(captured_events: Captured, make_user: MakeUser) -> None:
    carol = make_user("carol", is_active=False)
    with (
        pytest.raises(AssertionError, match=r"does not let <User: carol> .* in: .* closed with 4501 \(AUTH_FAILED\)"),
        captured_events.browser(carol),
    ):
        pass


def test_a_gap_is_told_to_who_is_there_and_to_who_comes_back(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as here, captured_events.browser(alice) as away:
        notify(alice, "n", 1)
        assert data_of([here.receive("n"), away.receive("n")]) == [1, 1]
        with away.offline():
            captured_events.force_gap(alice)
        told = here.receive("GAP")["data"]
        assert (told["stream"], told["seq"], told["reason"]) == (f"user.{alice.pk}", 0, "epoch")
        assert away.streams[f"user.{alice.pk}"]["state"] == "gap"
        notify(alice, "n", 2)
        assert data_of([here.receive("n"), away.receive("n")]) == [2, 2]


def test_a_duplicate_comes_once_if_it_is_durable(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as tab:
        notify(alice, "n", 1)
        captured_events.force_duplicate(alice)
        notify(alice, "n", 2)
        assert data_of(tab.frames) == [1, 2]
        push(alice, "moved")
        captured_events.force_duplicate(alice)
        assert tab.ids == ["n", "n", "moved", "moved"]
    assert len(captured_events.of(alice)) == 3


def test_what_cannot_come_twice(captured_events: Captured, alice: Any) -> None:
    push(EVERYONE, "news/PUBLISHED")
    with pytest.raises(AssertionError, match=rf"Nothing was sent to user\.{alice.pk} (.*\n)*.*news/PUBLISHED"):
        captured_events.force_duplicate(alice)


def test_a_failure_shows_what_came_what_was_sent_and_what_the_tab_hears(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice, topics=["order-1", "order-2"]) as tab:
        notify(alice, "invoice/PAID", {"invoice": 5})
        push(Topic("order-2"), "order/CHANGED", "x" * 600)
        with pytest.raises(AssertionError) as failure:
            tab.receive("order/CHANGED")
    mine = f"user.{alice.pk}"
    assert str(failure.value) == (
        f"No order/CHANGED came to the tab of <User: alice> ({mine}).\n"
        "The tab got:\n"
        f'    invoice/PAID {{"invoice": 5}} {mine}\n'
        "The test has sent:\n"
        f'    push order/CHANGED "{"x" * 499}… to topic.order-2\n'
        f'    notify invoice/PAID {{"invoice": 5}} to {mine}\n'
        f"The tab hears {mine}, all, {ORDER}, not topic.order-2, which is denied."
    )


def test_a_failure_of_a_closed_tab(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as tab:
        sign_out_everywhere(alice)
        with pytest.raises(AssertionError, match=r"Nothing came(.*\n)*the socket was closed with 4503 \(REVOKED\)\."):
            tab.receive()


def test_the_count_of_the_inbox(captured_events: Captured, alice: Any, client: Client) -> None:
    client.force_login(alice)
    with captured_events.browser(alice) as tab:
        notify(alice, "invoice/PAID", title="Paid")
        notify(alice, "invoice/PAID", title="Paid, too")
        notice = tab.receive("invoice/PAID")
        client.post("/inbox/read", {"mid": notice["mid"]})
        counts = [(frame["id"], frame["unread"]) for frame in tab.frames]
    # The two were numbered together, and each carries the count of that moment.
    assert counts == [("invoice/PAID", 2), ("invoice/PAID", 2), ("inbox/CHANGED", 1)]


def test_nothing_arrives_before_the_commit(captured_events: Captured, alice: Any) -> None:
    with captured_events.browser(alice) as tab:
        with transaction.atomic():
            notify(alice, "n")
            with pytest.raises(RuntimeError, match=re.escape("transaction.atomic() block is open")):
                tab.receive("n")
        assert tab.receive("n")["seq"] == 1


async def test_a_running_loop_is_told_the_async_way(captured_events: Captured) -> None:
    tab = captured_events.browser(User(pk=1, username="alice"))
    for use in (tab.__enter__, tab.receive, lambda: tab.ids):
        with pytest.raises(SynchronousOnlyOperation, match="async with"):
            use()


@pytest.mark.django_db(transaction=True)
async def test_under_another_runner_of_async_tests(captured_events: Captured) -> None:
    """Its thread for Django's async code has a connection of its own."""
    alice = await sync_to_async(User.objects.create_user)("alice")
    async with captured_events.browser(alice) as tab:
        await anotify(alice, "n", 1)
        push(alice, "m", 2)
        assert sorted([(await tab.receive())["data"], (await tab.receive())["data"]]) == [1, 2]
    await sync_to_async(captured_events.assert_notified)(alice, "n")


class TestInAsyncTests(TestCase):
    """Django runs them so that the database is that of the test."""

    def setUp(self) -> None:
        self.captured = self.enterContext(capture_events())

    async def test_the_same(self) -> None:
        alice = await sync_to_async(User.objects.create_user)("alice")
        async with self.captured.browser(alice) as tab:
            await anotify(alice, "n", 1)
            assert (await tab.receive("n"))["data"] == 1
            async with tab.offline():
                await anotify(alice, "n", 2)
            assert tab.streams[f"user.{alice.pk}"]["state"] == "recovered"
            assert data_of(await tab.frames()) == [1, 2]
            assert await tab.subscribe("article-0") == "denied"
            await tab.unsubscribe("article-0")
            await sync_to_async(sign_out_everywhere)(alice)
            assert len(await tab.frames()) == 2
            assert tab.closed == CloseCode.REVOKED
        await sync_to_async(self.captured.assert_notified)(alice, "n", times=2)
