"""Which topics sockets may still hear (docs/topics.md)."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from django.db import OperationalError

from apps.realtime.core.actions import Taken
from apps.realtime.core.codes import GapReason
from apps.realtime.core.events import Event
from apps.realtime.core.names import Stream, topic_stream, user_stream
from apps.realtime.core.resume import Cursor, Head
from apps.realtime.node.identity import Wish
from apps.realtime.node.rights import (
    BATCH_WISHES,
    CHECK_AFTER_SECS,
    FRESH_SECS,
    LOOK_EVERY_SECS,
    PATIENCE_SECS,
    TopicRights,
)
from apps.realtime.topics import TopicRegistry

from .virtual_time import virtual_time

ORDER, MINE = topic_stream("order-1"), user_stream("7")
ASK_SECS = 0.01
TIMEOUT_SECS = 5.0


class Tab:
    """A socket that notes what it lost, and leaves."""

    def __init__(self, rights: TopicRights, user_id: str = "7") -> None:
        self.user_id = user_id
        self.lost: list[Stream] = []
        self._rights = rights

    def revoked(self, stream: Stream) -> None:
        self.lost.append(stream)
        self._rights.drop(self, stream)

    def deliver(self, event: Event) -> bool:
        raise NotImplementedError

    def take(self, event: Event) -> Taken:
        raise NotImplementedError

    def wants(self, stream: Stream) -> Cursor | None:
        raise NotImplementedError

    def gap(self, stream: Stream, head: Head, reason: GapReason) -> bool:
        raise NotImplementedError


class Database:
    """Answers as `identity.verdicts` in the node's threads.

    Attributes:
        asked: the wishes of each question.
        denied, unknown, hanging: wishes with another answer than yes: no; none; none, and nobody else in its question.
        error: raised instead of any answer.
        most: how many are answered before time is up.
    """

    def __init__(self) -> None:
        self.asked: list[list[Wish]] = []
        self.denied: set[Wish] = set()
        self.unknown: set[Wish] = set()
        self.hanging: set[Wish] = set()
        self.error: Exception | None = None
        self.most = BATCH_WISHES

    async def ask(self, function: Any, wishes: Collection[Wish], *args: Any) -> dict[Wish, bool | None]:
        self.asked.append(list(wishes))
        if self.hanging & set(wishes):
            await asyncio.sleep(TIMEOUT_SECS)
            raise TimeoutError
        asked = list(wishes)[: self.most]
        answer = {wish: None if wish in self.unknown else wish not in self.denied for wish in asked}
        await asyncio.sleep(ASK_SECS)
        if self.error is not None:
            raise self.error
        return answer


class Rig:
    """Rights over a database without a database."""

    def __init__(self) -> None:
        self.database = Database()
        self.rights = TopicRights(self.database, TopicRegistry([]))  # type: ignore[arg-type]

    def tab(self, user_id: str = "7", topic: str = "order-1") -> Tab:
        """A tab that has just subscribed."""
        tab = Tab(self.rights, user_id)
        self.rights.hold(tab, Wish(user_id, topic), topic_stream(topic), asyncio.get_running_loop().time())
        return tab

    def tabs(self, count: int) -> list[Tab]:
        """Tabs of as many users."""
        return [self.tab(str(number)) for number in range(count)]


@virtual_time
async def test_the_verdict_of_the_subscription_counts_for_some_seconds() -> None:
    rig = Rig()
    tab = rig.tab()
    await asyncio.sleep(FRESH_SECS)
    assert await rig.rights.confirm(ORDER, [tab]) == {tab}
    assert rig.database.asked == []
    await asyncio.sleep(1)
    assert await rig.rights.confirm(ORDER, [tab]) == {tab}
    assert rig.database.asked == [[Wish("7", "order-1")]]
    # And so does the next one.
    await asyncio.sleep(FRESH_SECS - 2 * ASK_SECS)
    assert await rig.rights.confirm(ORDER, [tab]) == {tab}
    assert len(rig.database.asked) == 1


@virtual_time
async def test_streams_of_no_topic_need_no_right() -> None:
    rig = Rig()
    tab = rig.tab()
    await asyncio.sleep(FRESH_SECS + 1)
    assert await rig.rights.confirm(MINE, [tab]) == {tab}
    assert rig.database.asked == []
    rig.rights.drop(tab, MINE)


@virtual_time
async def test_who_has_lost_the_right_leaves_with_all_its_tabs_and_nobody_else_does() -> None:
    rig = Rig()
    bob, *alices = rig.tab("8"), rig.tab(), rig.tab()
    elsewhere = rig.tab(topic="news")
    await asyncio.sleep(FRESH_SECS + 1)
    rig.database.denied.add(Wish("7", "order-1"))
    confirmed = await rig.rights.confirm(ORDER, [alices[0], bob])
    assert bob in confirmed
    assert [tab.lost for tab in (*alices, bob, elsewhere)] == [[ORDER], [ORDER], [], []]
    # Two users of one topic: one question.
    assert [len(wishes) for wishes in rig.database.asked] == [2]


@virtual_time
async def test_tabs_of_one_user_and_those_that_ask_meanwhile_share_a_question() -> None:
    rig = Rig()
    tabs = [rig.tab() for _ in range(3)]
    await asyncio.sleep(FRESH_SECS + 1)
    first = asyncio.ensure_future(rig.rights.confirm(ORDER, tabs[:2]))
    await asyncio.sleep(ASK_SECS / 2)
    assert await rig.rights.confirm(ORDER, tabs) == set(tabs)
    assert await first == set(tabs[:2])
    assert rig.database.asked == [[Wish("7", "order-1")]]


@virtual_time
async def test_a_thousand_listeners_are_ten_questions() -> None:
    rig = Rig()
    tabs = rig.tabs(10 * BATCH_WISHES)
    await asyncio.sleep(FRESH_SECS + 1)
    assert await rig.rights.confirm(ORDER, tabs) == set(tabs)
    assert [len(wishes) for wishes in rig.database.asked] == [BATCH_WISHES] * 10


@virtual_time
async def test_what_had_no_time_comes_next() -> None:
    rig = Rig()
    rig.database.most = 2
    tabs = rig.tabs(5)
    await asyncio.sleep(FRESH_SECS + 1)
    assert await rig.rights.confirm(ORDER, tabs) == set(tabs)
    assert [len(wishes) for wishes in rig.database.asked] == [5, 3, 1]


@virtual_time
async def test_without_a_verdict_there_is_no_history_and_the_subscription_stays() -> None:
    rig = Rig()
    alice, bob = rig.tab(), rig.tab("8")
    await asyncio.sleep(FRESH_SECS + 1)
    rig.database.unknown.add(Wish("7", "order-1"))
    assert await rig.rights.confirm(ORDER, [alice, bob]) == {bob}
    rig.database.unknown.clear()
    assert await rig.rights.confirm(ORDER, [alice, bob]) == {alice, bob}
    assert alice.lost == []


@pytest.mark.parametrize("error", [OperationalError("away"), TimeoutError(), ZeroDivisionError("a defect of ours")])
@virtual_time
async def test_with_the_database_away_nobody_gets_history_and_the_log_says_it_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    tab = rig.tab()
    await asyncio.sleep(FRESH_SECS + 1)
    rig.database.error = error
    for _ in range(3):
        assert await rig.rights.confirm(ORDER, [tab]) == set()
    assert len(caplog.records) == 1
    rig.database.error = None
    await rig.rights.confirm(ORDER, [tab])
    await asyncio.sleep(1)
    assert await rig.rights.confirm(ORDER, [tab]) == {tab}
    assert tab.lost == []


@virtual_time
async def test_a_rule_that_hangs_costs_the_others_one_wait() -> None:
    rig = Rig()
    loop = asyncio.get_running_loop()
    tabs = rig.tabs(20)
    await asyncio.sleep(FRESH_SECS + 1)
    rig.database.hanging.add(Wish("3", "order-1"))
    began = loop.time()
    assert await rig.rights.confirm(ORDER, tabs) == set()
    assert loop.time() - began == pytest.approx(PATIENCE_SECS)
    await asyncio.sleep(TIMEOUT_SECS)
    # Now each is asked apart, and has an answer or shows that it is the one that hangs.
    await rig.rights.confirm(ORDER, tabs)
    await asyncio.sleep(TIMEOUT_SECS + 1)
    # From now on nobody waits for that one.
    others = {tab for tab in tabs if tab.user_id != "3"}
    for _ in range(5):
        began = loop.time()
        assert await rig.rights.confirm(ORDER, tabs) == others
        assert loop.time() - began <= 2 * ASK_SECS
        await asyncio.sleep(FRESH_SECS + 1)
    rig.database.hanging.clear()
    await rig.rights.confirm(ORDER, tabs)
    await asyncio.sleep(1)
    assert await rig.rights.confirm(ORDER, tabs) == set(tabs)


@virtual_time
async def test_who_leaves_while_it_is_asked_for_and_comes_back_is_asked_for_anew() -> None:
    rig = Rig()
    rig.database.most = 1
    first, gone = rig.tab("1"), rig.tab("2")
    await asyncio.sleep(FRESH_SECS + 1)
    asked = asyncio.ensure_future(rig.rights.confirm(ORDER, [first, gone]))
    await asyncio.sleep(ASK_SECS / 2)
    rig.rights.drop(gone, ORDER)
    back = rig.tab("2")
    await asyncio.sleep(0)
    assert await asked >= {first}
    await asyncio.sleep(FRESH_SECS + 1)
    assert await rig.rights.confirm(ORDER, [back]) == {back}
    assert [len(wishes) for wishes in rig.database.asked] == [2, 1]


@virtual_time
async def test_closing_ends_what_is_being_asked() -> None:
    rig = Rig()
    tab = rig.tab()
    await asyncio.sleep(FRESH_SECS + 1)
    asked = asyncio.ensure_future(rig.rights.confirm(ORDER, [tab]))
    await asyncio.sleep(ASK_SECS / 2)
    await rig.rights.close()
    assert await asked == set()
    await asyncio.sleep(1)
    assert len(rig.database.asked) == 1


# Asked again -------------------------------------------------------------------------------------


@virtual_time
async def test_a_lost_right_ends_within_a_minute_by_itself() -> None:
    rig = Rig()
    rig.rights.start()
    alice, bob = rig.tab(), rig.tab("8")
    rig.database.denied.add(Wish("7", "order-1"))
    await asyncio.sleep(CHECK_AFTER_SECS - LOOK_EVERY_SECS)
    assert rig.database.asked == []
    await asyncio.sleep(60 - CHECK_AFTER_SECS + LOOK_EVERY_SECS)
    assert (alice.lost, bob.lost) == ([ORDER], [])
    # The others are asked for together, and no more than once in this time.
    assert [len(wishes) for wishes in rig.database.asked] == [2]
    await asyncio.sleep(120)
    assert len(rig.database.asked) in (3, 4)
    await rig.rights.close()


@virtual_time
async def test_what_the_project_revokes_ends_at_once_whatever_the_rule_says() -> None:
    rig = Rig()
    alices, bob = [rig.tab(), rig.tab()], rig.tab("8")
    rig.rights.revoke("7", topic_stream("news"))
    rig.rights.revoke("9", ORDER)
    rig.rights.revoke("7", ORDER)
    assert [tab.lost for tab in (*alices, bob)] == [[ORDER], [ORDER], []]
    assert rig.database.asked == []


@virtual_time
async def test_a_user_of_whom_something_changed_is_asked_for_at_once() -> None:
    rig = Rig()
    order, news, bob = rig.tab(), rig.tab(topic="news"), rig.tab("8")
    rig.database.denied |= {Wish("7", "order-1"), Wish("8", "order-1")}
    rig.rights.look_again("7")
    rig.rights.look_again("9")
    await asyncio.sleep(2 * ASK_SECS)
    assert (order.lost, news.lost, bob.lost) == ([ORDER], [], [])


@virtual_time
async def test_everybody_is_asked_for_at_once_and_history_comes_in_between() -> None:
    rig = Rig()
    rig.rights.start()
    tabs = rig.tabs(10 * BATCH_WISHES)
    news = rig.tab(topic="news")
    await asyncio.sleep(FRESH_SECS + 1)
    rig.database.denied.add(Wish("3", "order-1"))
    rig.rights.look_again()
    await asyncio.sleep(ASK_SECS / 2)
    began = asyncio.get_running_loop().time()
    assert await rig.rights.confirm(topic_stream("news"), [news]) == {news}
    assert asyncio.get_running_loop().time() - began <= 3 * ASK_SECS
    await asyncio.sleep(1)
    assert [tab.user_id for tab in tabs if tab.lost] == ["3"]
    assert sum(map(len, rig.database.asked)) == len(tabs) + 1
    await rig.rights.close()


@virtual_time
async def test_an_answer_from_before_the_change_does_not_count() -> None:
    rig = Rig()
    alice = rig.tab()
    await asyncio.sleep(FRESH_SECS + 1)
    asked = asyncio.ensure_future(rig.rights.confirm(ORDER, [alice]))
    await asyncio.sleep(ASK_SECS / 2)
    rig.rights.look_again("7")
    await asyncio.sleep(0)
    rig.database.denied.add(Wish("7", "order-1"))
    await asked
    assert alice.lost == [ORDER]
    assert len(rig.database.asked) == 2


@virtual_time
async def test_what_could_not_be_asked_after_a_change_is_asked_again() -> None:
    rig = Rig()
    rig.rights.start()
    alice = rig.tab()
    rig.database.error = OperationalError("away")
    rig.rights.look_again("7")
    await asyncio.sleep(1)
    rig.database.error = None
    rig.database.denied.add(Wish("7", "order-1"))
    await asyncio.sleep(LOOK_EVERY_SECS)
    assert alice.lost == [ORDER]
    await rig.rights.close()
