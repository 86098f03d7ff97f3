"""How each session gets to the head of its stream (docs/node.md; docs/protocol.md, "Resume")."""

import asyncio
from collections.abc import Awaitable, Collection, Set
from typing import Any, TypeVar

import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY

from apps.realtime.core.actions import Taken
from apps.realtime.core.cache import OVERHEAD_BYTES, EventCache
from apps.realtime.core.codes import GapReason, StreamState
from apps.realtime.core.events import Event
from apps.realtime.core.names import Stream
from apps.realtime.core.resume import CORRUPT, Cursor, Verdict
from apps.realtime.core.window import WINDOW_EVENTS
from apps.realtime.node.shared_feed import HOLE_SECS, RETRY_SECS, Confirm, Member, SharedFeed
from tests.unit.realtime.core.driver import EPOCH, durable, event, new

from .tabs import MINE, READ_SECS, Tab, Table, TableReader, confirm_all
from .virtual_time import virtual_time

REPLAY_MAX = 500
# Longer than any hole waits, and any answer takes.
SETTLED_SECS = HOLE_SECS + 10 * READ_SECS

T = TypeVar("T")


def small_cache() -> EventCache:
    """Room for less than a hundred."""
    return EventCache(100 * OVERHEAD_BYTES)


class Rig:
    """One feed over one table."""

    def __init__(
        self, head: int = 0, floor: int = 0, *, cache: EventCache | None = None, confirm: Confirm = confirm_all
    ) -> None:
        self.table = Table(head, floor)
        self.reader = TableReader(self.table)
        self.rotations = 0
        self.feed = SharedFeed(
            MINE,
            cache or EventCache(),
            self.reader,  # type: ignore[arg-type]
            self.rotate,
            lambda: None,
            confirm,
            replay_max=REPLAY_MAX,
        )

    async def rotate(self, stream: Stream, at: Cursor) -> None:
        """As `rotation.rotate_regressed`."""
        await asyncio.sleep(READ_SECS)
        if self.table.epoch == at.epoch and self.table.head < at.seq:
            self.rotations += 1
            self.table.rotate(f"rotated-{self.rotations}")

    async def tab(self, since: int | None = None, *, dialect: str = "v1") -> Tab:
        """A tab that is open."""
        tab = Tab(self.feed, dialect=dialect)
        await tab.resume(None if since is None else Cursor(self.table.epoch, since))
        return tab

    def publish(self, *seqs: int, epoch: str | None = None) -> None:
        """As the table has them, or as nobody has."""
        for seq in seqs:
            stored = [row for row in self.table.rows if (row.epoch, row.seq) == (epoch or self.table.epoch, seq)]
            self.feed.deliver(stored[0] if stored else durable(MINE, seq, epoch or self.table.epoch))

    def commit(self, count: int = 1, *, lost: bool = False) -> None:
        """Number and publish the next events, unless they are lost on their way."""
        for one in self.table.commit(count):
            if not lost:
                self.feed.deliver(one)

    async def settle(self) -> None:
        await asyncio.sleep(SETTLED_SECS)


def deliveries(source: str) -> float:
    return REGISTRY.get_sample_value("realtime_deliveries_total", {"source": source}) or 0.0


async def while_held_up(reader: TableReader, question: Awaitable[T]) -> "asyncio.Future[T]":
    """Ask, and stop the answer on its way."""
    reader.may_answer.clear()
    task = asyncio.ensure_future(question)
    await reader.held_up()
    return task


# Live --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["v1", "seed"])
@virtual_time
async def test_what_comes_from_the_broker_is_passed_on_once_and_needs_no_database(dialect: str) -> None:
    rig = Rig(head=5)
    tabs = [await rig.tab(dialect=dialect) for _ in range(3)]
    asked, live = len(rig.reader.asked), deliveries("live")
    rig.table.commit(3)
    rig.publish(6, 6, 7, 6, 8, 7, 8)
    assert [tab.got for tab in tabs] == [[6, 7, 8]] * 3
    await rig.settle()
    assert len(rig.reader.asked) == asked
    assert deliveries("live") == live + 9
    assert rig.feed.position == Cursor(EPOCH, 8)


@virtual_time
async def test_an_ephemeral_event_is_for_whoever_is_open_now() -> None:
    rig = Rig()
    tab, opening = await rig.tab(), Tab(rig.feed)
    rig.feed.deliver(event(MINE))
    assert (tab.got, opening.got) == (["ephemeral"], [])


@virtual_time
async def test_events_that_swap_wait_for_each_other_and_cost_no_read() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.table.commit(4)
    rig.publish(7, 9, 8)
    await asyncio.sleep(HOLE_SECS * 0.9)
    assert tab.got == []
    rig.publish(6)
    assert tab.got == [6, 7, 8, 9]
    await rig.settle()
    assert rig.reader.pages == 0


@virtual_time
async def test_a_hole_that_stays_for_50_ms_is_read_once_for_everybody() -> None:
    assert HOLE_SECS == 0.05
    rig = Rig(head=5)
    tabs = [await rig.tab(dialect=dialect) for dialect in ("v1", "seed", "v1")]
    rig.commit(2, lost=True)
    assert rig.reader.asked == ["head"] * 3
    history = deliveries("database")
    rig.commit()
    await asyncio.sleep(HOLE_SECS * 0.9)
    assert rig.reader.pages == 0
    rig.commit()
    await rig.settle()
    assert [tab.got for tab in tabs] == [[6, 7, 8, 9]] * 3
    assert rig.reader.pages == 1
    assert deliveries("database") > history


@virtual_time
async def test_a_lost_tail_is_read_when_a_head_reveals_it() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.commit(3, lost=True)
    await rig.settle()
    assert tab.got == []
    rig.feed.observe(rig.table.here(), rig.feed.position)
    await asyncio.sleep(HOLE_SECS * 0.9)
    # It may be on its way still.
    assert (tab.got, rig.reader.pages) == ([], 0)
    await rig.settle()
    assert (tab.got, rig.reader.pages) == ([6, 7, 8], 1)


@virtual_time
async def test_a_head_that_is_no_news_costs_nothing() -> None:
    rig = Rig(head=5)
    await rig.tab()
    await rig.settle()
    asked = len(rig.reader.asked)
    rig.feed.observe(rig.table.here(), rig.feed.position)
    await rig.settle()
    assert len(rig.reader.asked) == asked


# Resume ------------------------------------------------------------------------------------------


@virtual_time
async def test_since_the_head_is_recovered_and_nothing_follows() -> None:
    rig = Rig(head=5)
    tab = Tab(rig.feed)
    verdict = await tab.resume(Cursor(EPOCH, 5))
    assert (verdict.state, verdict.replay) == (StreamState.RECOVERED, 0)
    await rig.settle()
    assert (tab.got, rig.reader.pages) == ([], 0)


@pytest.mark.parametrize("behind", [1, 10, REPLAY_MAX])
@virtual_time
async def test_what_was_missed_follows_and_then_what_is_live(behind: int) -> None:
    rig = Rig(head=600)
    tab = Tab(rig.feed)
    verdict = await tab.resume(Cursor(EPOCH, 600 - behind))
    assert (verdict.state, verdict.replay) == (StreamState.RECOVERED, behind)
    rig.commit()
    for _ in range(3):
        await rig.settle()
        tab.ack()
    await rig.settle()
    assert tab.got == list(range(601 - behind, 602))


@virtual_time
async def test_the_last_events_come_from_memory() -> None:
    rig = Rig(head=5)
    await rig.tab()
    rig.commit(10)
    memory = deliveries("memory")
    again = await rig.tab(since=8)
    assert again.got == [9, 10, 11, 12, 13, 14, 15]
    assert rig.reader.pages == 0
    assert deliveries("memory") == memory + 7


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        (Cursor(EPOCH, 98), GapReason.TOO_MANY),
        (Cursor(EPOCH, 600), GapReason.EPOCH),
        (Cursor(EPOCH, 2**63 - 1), GapReason.EPOCH),
        (Cursor("unknown", 597), GapReason.EPOCH),
        (CORRUPT, GapReason.EPOCH),
    ],
)
@virtual_time
async def test_a_gap_is_one_client_s_own_affair(since: Cursor, reason: GapReason) -> None:
    rig = Rig(head=599, floor=95)
    others = [await rig.tab(), await rig.tab(since=597)]
    await rig.settle()
    tab = Tab(rig.feed)
    verdict = await tab.resume(since)
    assert verdict == Verdict(StreamState.GAP, Cursor(EPOCH, 599), 599, reason)
    rig.commit()
    await rig.settle()
    assert tab.got == [600]
    assert [other.got for other in others] == [[600], [598, 599, 600]]
    assert rig.rotations == 0
    assert rig.feed.position == Cursor(EPOCH, 600)


@pytest.mark.parametrize(("since", "state"), [(5, StreamState.RECOVERED), (4, StreamState.GAP)])
@virtual_time
async def test_a_topic_without_history_recovers_who_missed_nothing(since: int, state: StreamState) -> None:
    rig = Rig(head=5)
    verdict = await rig.feed.verdict(Cursor(EPOCH, since), keeps_history=False)
    assert verdict.state is state
    assert (await rig.feed.verdict(None, keeps_history=False)).state is StreamState.NEW


@virtual_time
async def test_an_event_between_the_reading_of_the_head_and_auth_ok_follows() -> None:
    rig = Rig(head=5)
    for since in (None, Cursor(EPOCH, 3)):
        head = rig.table.head
        tab = Tab(rig.feed)
        asked = await while_held_up(rig.reader, rig.feed.verdict(since))
        rig.commit(2)
        assert tab.got == []
        rig.reader.may_answer.set()
        verdict = await asked
        assert verdict.head == head
        tab.open(verdict)
        rig.commit()
        await rig.settle()
        assert tab.got == list(range(verdict.cursor.seq + 1, head + 4))


@virtual_time
async def test_an_event_between_the_reading_of_the_head_and_the_end_of_the_replay_follows_it() -> None:
    rig = Rig(head=300)
    tab = await rig.tab(since=100)
    rig.reader.may_answer.clear()
    await rig.reader.held_up()
    rig.commit(2)
    assert tab.got == []
    rig.reader.may_answer.set()
    await rig.settle()
    assert tab.got == list(range(101, 303))
    assert rig.reader.pages == 1


@virtual_time
async def test_three_tabs_while_two_events_swap_and_pruning_runs() -> None:
    rig = Rig(head=15)
    slow = await rig.tab()
    rig.commit(WINDOW_EVENTS + 10)
    assert slow.got[-1] == 15 + WINDOW_EVENTS
    head = rig.table.head
    young = await rig.tab()
    behind = Tab(rig.feed)
    verdict = await rig.feed.verdict(Cursor(EPOCH, head - 10))
    rig.table.commit(2)
    rig.publish(head + 2)
    behind.open(verdict)
    rig.table.trim(head - 5)
    slow.ack()
    rig.publish(head + 1)
    await rig.settle()
    assert young.got == [head + 1, head + 2]
    assert behind.got == list(range(head - 9, head + 3))
    assert slow.got == list(range(16, head + 3))


@virtual_time
async def test_1000_members_at_one_position_cost_one_page() -> None:
    rig = Rig(head=20)
    await rig.tab()
    tabs = [Tab(rig.feed) for _ in range(1_000)]
    for tab in tabs:
        tab.open(Verdict(StreamState.RECOVERED, Cursor(EPOCH, 5), 20))
    await rig.settle()
    assert rig.reader.pages == 1
    assert all(tab.got == list(range(6, 21)) for tab in tabs)


@virtual_time
async def test_members_at_different_positions_are_asked_for_together() -> None:
    rig = Rig(head=20)
    tabs = [await rig.tab(since=since) for since in (3, 9, 15)]
    await rig.settle()
    assert [tab.got for tab in tabs] == [list(range(4, 21)), list(range(10, 21)), list(range(16, 21))]
    assert rig.reader.pages <= 3


@virtual_time
async def test_who_comes_while_a_page_is_read_is_served_after_it() -> None:
    rig = Rig(head=20)
    first = await rig.tab(since=10)
    rig.reader.may_answer.clear()
    await rig.reader.held_up()
    second = Tab(rig.feed)
    second.open(Verdict(StreamState.RECOVERED, Cursor(EPOCH, 4), 20))
    rig.reader.may_answer.set()
    await rig.settle()
    assert (first.got, second.got) == (list(range(11, 21)), list(range(5, 21)))


# Credit ------------------------------------------------------------------------------------------


@virtual_time
async def test_with_a_full_window_ephemeral_events_are_lost_and_durable_ones_come_after_the_ack() -> None:
    rig = Rig()
    slow, quick = await rig.tab(), await rig.tab()
    for _ in range(4):
        rig.commit(200)
        rig.feed.deliver(event(MINE))
        quick.ack()
    assert slow.got == [*range(1, 201), "ephemeral", *range(201, 256)]
    assert [one for one in quick.got if one != "ephemeral"] == list(range(1, 801))
    await rig.settle()
    # Nobody reads for who has no room.
    assert rig.reader.pages == 0
    for _ in range(4):
        slow.ack()
        await rig.settle()
    assert [one for one in slow.got if one != "ephemeral"] == list(range(1, 801))
    assert slow.got.count("ephemeral") == 1


@virtual_time
async def test_a_window_that_fills_while_a_page_is_turned_goes_on_after_the_ack() -> None:
    rig = Rig(head=500)
    tab = await rig.tab(since=0)
    for _ in range(10):
        tab.deliver(event(MINE))
    await rig.settle()
    assert tab.got[-1] == WINDOW_EVENTS - 10
    await rig.settle()
    assert rig.reader.pages == 1
    tab.ack()
    await rig.settle()
    tab.ack()
    assert tab.got[10:] == list(range(1, 501))


@virtual_time
async def test_a_seed_page_has_no_window() -> None:
    rig = Rig()
    tab = await rig.tab(dialect="seed")
    rig.commit(1_000)
    assert tab.got == list(range(1, 1_001))


# Trimmed in mid-connection -----------------------------------------------------------------------


@virtual_time
async def test_what_is_trimmed_before_a_slow_reader_gets_it_is_a_gap() -> None:
    rig = Rig(cache=small_cache())
    slow = await rig.tab()
    rig.commit(600)
    rig.table.trim(300)
    slow.ack()
    await rig.settle()
    assert slow.got == [*range(1, 257), ("GAP", GapReason.TRIMMED, EPOCH, 600)]
    rig.commit()
    assert slow.got[-1] == 601


@pytest.mark.parametrize(("since", "state"), [(302, StreamState.RECOVERED), (301, StreamState.GAP)])
@virtual_time
async def test_who_comes_back_behind_the_floor_has_a_gap(since: int, state: StreamState) -> None:
    rig = Rig(head=600, floor=302)
    tab = Tab(rig.feed)
    verdict = await tab.resume(Cursor(EPOCH, since))
    assert verdict.state is state
    assert (verdict.reason is GapReason.TRIMMED) == (state is StreamState.GAP)
    rig.commit()
    await rig.settle()
    tab.ack()
    await rig.settle()
    assert tab.got == list(range(verdict.cursor.seq + 1, 602))


@virtual_time
async def test_a_hole_that_was_trimmed_is_a_gap() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.commit(3, lost=True)
    rig.table.trim(7)
    rig.commit()
    await rig.settle()
    assert tab.got == [("GAP", GapReason.TRIMMED, EPOCH, 9)]
    rig.commit()
    assert tab.got[1:] == [10]


@virtual_time
async def test_who_was_served_meanwhile_has_no_gap() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.table.commit(4)
    rig.table.trim(6)
    rig.publish(8)
    rig.reader.may_answer.clear()
    await rig.reader.held_up()
    # Read was that 6 is no more; then it comes after all.
    rig.publish(6)
    assert tab.got == [6]
    rig.reader.may_answer.set()
    await rig.settle()
    assert tab.got == [6, 7, 8, 9]


# Epochs ------------------------------------------------------------------------------------------


@virtual_time
async def test_a_rotation_is_told_before_anything_of_the_new_epoch() -> None:
    rig = Rig(head=5)
    tabs = [await rig.tab(dialect=dialect) for dialect in ("v1", "seed")]
    rig.table.rotate("e2")
    rig.commit(2)
    assert [tab.got for tab in tabs] == [[], []]
    await rig.settle()
    rig.commit()
    assert [tab.got for tab in tabs] == [[("GAP", GapReason.EPOCH, "e2", 2), 3], [3]]
    assert rig.rotations == 0


@virtual_time
async def test_what_comes_while_a_rotation_is_looked_at_is_not_forgotten() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.table.rotate("e2")
    rig.reader.may_answer.clear()
    rig.commit()
    await rig.reader.held_up()
    rig.commit()
    rig.reader.may_answer.set()
    await rig.settle()
    await rig.settle()
    assert tab.got == [("GAP", GapReason.EPOCH, "e2", 1), 2]


@virtual_time
async def test_a_straggler_of_an_ended_epoch_changes_nothing() -> None:
    rig = Rig(head=5)
    rig.table.rotate("e2")
    tab = await rig.tab()
    rig.publish(6, epoch=EPOCH)
    await rig.settle()
    rig.commit()
    assert tab.got == [1]


@virtual_time
async def test_a_straggler_that_is_the_first_a_feed_hears_is_found_out() -> None:
    rig = Rig(head=5)
    rig.table.rotate("e2")
    rig.table.commit(3)
    rig.publish(6, epoch=EPOCH)
    tab = await rig.tab(since=2)
    rig.commit()
    await rig.settle()
    assert tab.got == [3, 4]


@virtual_time
async def test_a_rotation_between_the_verdict_and_auth_ok_is_a_gap() -> None:
    rig = Rig(head=5)
    tab = Tab(rig.feed)
    verdict = await rig.feed.verdict(Cursor(EPOCH, 5))
    rig.table.rotate("e2")
    rig.feed.observe(rig.table.here(), rig.feed.position)
    assert tab.got == []
    tab.open(verdict)
    assert tab.got == [("GAP", GapReason.EPOCH, "e2", 0)]
    rig.commit()
    assert tab.got[1:] == [1]


@virtual_time
async def test_a_rotation_while_a_head_is_read_is_judged_anew() -> None:
    rig = Rig(head=5)
    watcher = await rig.tab()
    asked = await while_held_up(rig.reader, rig.feed.verdict(Cursor(EPOCH, 5)))
    rig.table.rotate("e2")
    rig.feed.observe(rig.table.here(), rig.feed.position)
    rig.reader.may_answer.set()
    assert await asked == Verdict(StreamState.GAP, Cursor("e2", 0), 0, GapReason.EPOCH)
    assert watcher.got == [("GAP", GapReason.EPOCH, "e2", 0)]


@virtual_time
async def test_a_page_of_an_epoch_that_ended_while_it_was_read_is_not_turned() -> None:
    rig = Rig(head=20)
    tab = await rig.tab(since=10)
    rig.reader.may_answer.clear()
    await rig.reader.held_up()
    rig.table.rotate("e2")
    rig.commit(2)
    rig.feed.observe(rig.table.here(), rig.feed.position)
    rig.reader.may_answer.set()
    await rig.settle()
    assert tab.got == [("GAP", GapReason.EPOCH, "e2", 2)]


@virtual_time
async def test_a_page_that_was_read_after_a_rotation_tells_of_it() -> None:
    rig = Rig(head=20)
    tab = await rig.tab(since=10)
    rig.table.rotate("e2")
    await rig.settle()
    assert tab.got == [("GAP", GapReason.EPOCH, "e2", 0)]


# A restored backup -------------------------------------------------------------------------------


@virtual_time
async def test_a_head_that_was_read_before_an_event_arrived_is_no_regress() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    before, since = rig.table.here(), rig.feed.position
    rig.commit()
    rig.feed.observe(before, since)
    await rig.settle()
    assert (tab.got, rig.rotations) == ([6], 0)


@virtual_time
async def test_a_position_above_the_head_ends_the_numbering_for_everybody() -> None:
    rig = Rig(head=5)
    tabs = [await rig.tab(dialect=dialect) for dialect in ("v1", "v1", "seed")]
    rig.commit(5)
    rig.table.restore(7)
    verdicts = await asyncio.gather(*(rig.feed.verdict(since) for since in (Cursor(EPOCH, 10), Cursor(EPOCH, 7), None)))
    assert [verdict.state for verdict in verdicts] == [StreamState.GAP, StreamState.GAP, StreamState.NEW]
    assert {verdict.cursor for verdict in verdicts} == {Cursor("rotated-1", 0)}
    rig.commit(2)
    gap = ("GAP", GapReason.EPOCH, "rotated-1", 0)
    assert [tab.got[5:] for tab in tabs] == [[gap, 1, 2], [gap, 1, 2], [1, 2]]
    assert rig.rotations == 1


@virtual_time
async def test_a_checked_head_or_a_page_finds_a_regress_too() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.commit(2)
    rig.table.restore(6)
    rig.feed.observe(rig.table.here(), rig.feed.position)
    await rig.settle()
    assert tab.got == [6, 7, ("GAP", GapReason.EPOCH, "rotated-1", 0)]
    rig.table.commit(2)
    rig.publish(2)
    rig.table.restore(0)
    await rig.settle()
    assert tab.got[3:] == [("GAP", GapReason.EPOCH, "rotated-2", 0)]


@virtual_time
async def test_who_has_ended_the_numbering_does_not_matter() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.commit(2)
    rig.table.restore(6)
    rig.feed.observe(rig.table.here(), rig.feed.position)
    # Another node is quicker, and events flow already.
    rig.table.rotate("theirs")
    rig.table.commit(9)
    await rig.settle()
    assert (tab.got, rig.rotations) == ([6, 7, ("GAP", GapReason.EPOCH, "theirs", 9)], 0)


@virtual_time
async def test_a_backup_whose_head_has_grown_past_the_old_one_after_a_rotation() -> None:
    rig = Rig(head=5)
    tab, slow = await rig.tab(), await rig.tab()
    rig.commit(300)
    tab.ack()
    rig.table.restore(7)
    rig.table.rotate("e2")
    rig.commit(400)
    slow.ack()
    verdict = await Tab(rig.feed).resume(Cursor(EPOCH, 305))
    assert (verdict.state, verdict.reason) == (StreamState.GAP, GapReason.EPOCH)
    await rig.settle()
    rig.commit()
    assert tab.got[-2:] == [("GAP", GapReason.EPOCH, "e2", 400), 401]
    # What was delivered of the old numbering counts, until the new one is announced.
    assert slow.got == [*range(6, 306), ("GAP", GapReason.EPOCH, "e2", 400), 401]


@virtual_time
async def test_a_backup_whose_head_has_grown_past_the_old_one_and_nobody_has_said_so() -> None:
    rig = Rig(head=5)
    tabs = [await rig.tab(), await rig.tab(dialect="seed")]
    rig.commit(5)
    rig.table.restore(7)
    # Other events get the numbers 8 to 12.
    rig.commit(5)
    await rig.settle()
    assert rig.rotations == 1
    gap = ("GAP", GapReason.EPOCH, "rotated-1", 0)
    assert [tab.got[:5] for tab in tabs] == [[6, 7, 8, 9, 10]] * 2
    assert tabs[0].got[-1] == gap
    rig.commit(2)
    await rig.settle()
    assert [tab.got[-2:] for tab in tabs] == [[1, 2]] * 2
    assert rig.rotations == 1


@virtual_time
async def test_a_regress_that_is_over_before_it_is_acted_on_is_none() -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.commit(3)
    rig.table.restore(7)
    rig.feed.observe(rig.table.here(), rig.feed.position)
    await asyncio.sleep(READ_SECS * 1.5)
    # A replica that was behind, say.
    rig.table.commit(3)
    await rig.settle()
    await rig.settle()
    assert rig.rotations == 0
    assert tab.got == [6, 7, 8, 9, 10]


# Rights ------------------------------------------------------------------------------------------


@virtual_time
async def test_history_is_read_for_those_only_that_may_have_it() -> None:
    refused: set[Member] = set()

    async def confirm(stream: Stream, members: Collection[Member]) -> Set[Member]:
        await asyncio.sleep(READ_SECS)
        return set(members) - refused

    rig = Rig(head=5, confirm=confirm)
    tabs = [await rig.tab() for _ in range(3)]
    refused |= {tabs[0], tabs[1]}
    rig.commit(2, lost=True)
    rig.commit()
    await asyncio.sleep(3 * RETRY_SECS)
    assert [tab.got for tab in tabs] == [[], [], [6, 7, 8]]
    # One verdict comes, the other one is no.
    refused.discard(tabs[0])
    tabs[1].leave()
    await asyncio.sleep(RETRY_SECS + SETTLED_SECS)
    assert [tab.got for tab in tabs] == [[6, 7, 8], [], [6, 7, 8]]


@virtual_time
async def test_a_right_that_is_lost_while_history_waits_for_it_reads_none_and_holds_up_nobody() -> None:
    asked: list[int] = []

    async def confirm(stream: Stream, members: Collection[Member]) -> Set[Member]:
        asked.append(len(members))
        for member in members:
            member.leave()  # type: ignore[attr-defined]
        return set(members)

    rig = Rig(head=5, confirm=confirm)
    tab = await rig.tab()
    rig.commit(lost=True)
    rig.commit()
    await rig.settle()
    assert (tab.got, asked, rig.reader.pages) == ([], [1], 0)
    # The next one that comes is asked for at once.
    await rig.tab(since=5)
    await rig.settle()
    assert asked == [1, 1]


# The database is away ----------------------------------------------------------------------------


@virtual_time
async def test_with_the_database_away_live_events_go_on_and_nobody_gets_a_verdict(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.reader.away = True
    for since in (None, Cursor(EPOCH, 5), CORRUPT):
        with pytest.raises(OperationalError):
            await rig.feed.verdict(since)
    rig.commit()
    assert tab.got == [6]
    rig.commit(lost=True)
    rig.commit()
    await asyncio.sleep(10 * RETRY_SECS)
    assert tab.got == [6]
    assert rig.reader.pages <= 11
    assert [record.message for record in caplog.records if "give" in record.message] == [
        f"Events of {MINE} wait: the database gives no history, OperationalError"
    ]
    rig.reader.away = False
    await asyncio.sleep(RETRY_SECS + SETTLED_SECS)
    rig.commit()
    assert tab.got == [6, 7, 8, 9]


@virtual_time
async def test_a_numbering_that_cannot_be_checked_is_checked_at_the_next_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(head=5)
    tab = await rig.tab()
    rig.table.rotate("e2")
    rig.reader.away = True
    rig.commit()
    await rig.settle()
    assert tab.got == []
    assert f"The numbering of {MINE} could not be checked: OperationalError" in caplog.text
    rig.reader.away = False
    rig.commit()
    await rig.settle()
    assert tab.got == [("GAP", GapReason.EPOCH, "e2", 2)]


@virtual_time
async def test_a_verdict_that_waits_for_a_check_without_an_answer_is_none() -> None:
    rig = Rig(head=5)
    await rig.tab()
    rig.commit(2)
    rig.table.restore(6)
    asked = await while_held_up(rig.reader, rig.feed.verdict(Cursor(EPOCH, 6)))
    rig.reader.away = True
    rig.reader.may_answer.set()
    with pytest.raises(OperationalError):
        await asked


@virtual_time
async def test_a_reader_that_fails_in_another_way_is_logged_and_asked_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(head=5)
    tab = await rig.tab()

    async def fail(*args: Any) -> Any:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as broken:
        broken.setattr(rig.reader, "page", fail)
        rig.commit(lost=True)
        rig.commit()
        await rig.settle()
    assert f"Reading the history of {MINE} failed" in caplog.text
    await asyncio.sleep(RETRY_SECS)
    await rig.settle()
    assert tab.got == [6, 7]


# Members that leave, and the end -----------------------------------------------------------------


@virtual_time
async def test_a_member_that_leaves_during_a_read_gets_nothing_and_disturbs_nobody() -> None:
    rig = Rig(head=20)
    await rig.tab()
    leaver, other = Tab(rig.feed), Tab(rig.feed)
    rig.reader.may_answer.clear()
    for tab in (leaver, other):
        tab.open(Verdict(StreamState.RECOVERED, Cursor(EPOCH, 10), 20))
    await rig.reader.held_up()
    leaver.leave()
    rig.reader.may_answer.set()
    await rig.settle()
    rig.commit()
    assert (leaver.got, other.got) == ([], list(range(11, 22)))


@virtual_time
async def test_a_member_that_leaves_while_it_is_served_disturbs_nobody() -> None:
    rig = Rig(head=5)
    first, leaver, last = await rig.tab(), await rig.tab(), await rig.tab()
    take = leaver.take

    def take_and_leave(event: Event) -> Taken:
        taken = take(event)
        leaver.leave()
        return taken

    leaver.take = take_and_leave  # type: ignore[method-assign]
    rig.commit(2)
    assert (first.got, leaver.got, last.got) == ([6, 7], [6], [6, 7])
    assert leaver not in rig.feed.members
    rig.feed.remove(leaver)
    rig.feed.catch_up(leaver)
    await rig.settle()
    assert leaver.got == [6]


@virtual_time
async def test_a_feed_that_is_closed_asks_for_nothing_more() -> None:
    rig = Rig(head=20)
    await rig.tab(since=10)
    rig.reader.may_answer.clear()
    await rig.reader.held_up()
    rig.table.rotate("e2")
    rig.commit()
    asked = len(rig.reader.asked)
    rig.feed.close()
    rig.reader.may_answer.set()
    await rig.settle()
    assert len(rig.reader.asked) == asked
    hole = Rig(head=5)
    await hole.tab()
    hole.commit(lost=True)
    hole.commit()
    hole.feed.close()
    await hole.settle()
    assert hole.reader.pages == 0


@virtual_time
async def test_a_new_member_is_told_of_nothing_that_was_before(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(head=5)
    await rig.tab()
    asked = len(rig.reader.asked)
    tab = Tab(rig.feed)
    tab.open(new(5))
    await rig.settle()
    assert (tab.got, len(rig.reader.asked), caplog.records) == ([], asked, [])
