"""Comparing heads with the database (docs/history.md)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest
from django.db import OperationalError

from apps.realtime import history
from apps.realtime.conf import realtime_settings
from apps.realtime.core.names import ALL, Stream, user_stream
from apps.realtime.core.resume import Cursor, Head
from apps.realtime.node.heads import FULL_EVERY_SECS, OVERLAP_SECS, TICK_SECS, HeadChecks

ALICE, BOB = user_stream("1"), user_stream("2")
HEAD = Head("e1", 7, 0)


class FakeReader:
    """Notes what is asked; answers when the test lets it.

    Attributes:
        asked: the streams and the window of each question.
        error: raised instead of an answer.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[list[Stream], float | None]] = []
        self.error: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def heads(
        self, streams: Collection[Stream], *, changed_within_secs: float | None = None
    ) -> dict[Stream, Head]:
        self.asked.append((sorted(streams), changed_within_secs))
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return dict.fromkeys(streams, HEAD)


class Rig:
    """Head checks of three open streams with quick clocks.

    Attributes:
        open: the streams of the node.
        position: of each of them.
        down: whether the link to the broker is.
        observed: what came of the checks.
    """

    def __init__(self) -> None:
        self.reader = FakeReader()
        self.open: list[Stream] = [ALICE, BOB, ALL]
        self.position = Cursor("e1", 6)
        self.down = False
        self.observed: list[tuple[Stream, Head, Cursor]] = []
        self.observe: Callable[[Stream, Head, Cursor], None] = lambda *seen: self.observed.append(seen)
        self._started: list[HeadChecks] = []

    def start(self, *, every_secs: float = 600, full_every_secs: float = 600) -> HeadChecks:
        reader: Any = self.reader
        checks = HeadChecks(
            reader,
            streams=lambda: self.open,
            position=lambda stream: self.position,
            observe=lambda *seen: self.observe(*seen),
            link_down=lambda: self.down,
            every_secs=every_secs,
            full_every_secs=full_every_secs,
            overlap_secs=60,
            tick_secs=0.01,
        )
        checks.start()
        self._started.append(checks)
        return checks

    async def asked(self, times: int) -> list[tuple[list[Stream], float | None]]:
        """The questions so far, when there are so many."""
        await until(lambda: len(self.reader.asked) >= times)
        return self.reader.asked

    async def close(self) -> None:
        for checks in self._started:
            await checks.close()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.close()


def test_the_times_are_the_protocols() -> None:
    assert (TICK_SECS, OVERLAP_SECS, FULL_EVERY_SECS) == (2, 60, 600)
    assert realtime_settings().head_check_secs == 30


async def test_what_changed_is_read_again_and_again(rig: Rig) -> None:
    rig.start(every_secs=0.05)
    (first, window), (second, _) = (await rig.asked(2))[:2]
    assert first == second == sorted([ALICE, BOB, ALL])
    # Since the last reading, and as long before it as a commit may take.
    assert window is not None
    assert 60.05 <= window < 65
    assert rig.observed[:3] == [(stream, HEAD, Cursor("e1", 6)) for stream in rig.open]


async def test_all_are_read_now_and_then_whether_they_changed_or_not(rig: Rig) -> None:
    rig.start(full_every_secs=0.05)
    asked = await rig.asked(2)
    assert asked[:2] == [(sorted([ALICE, BOB, ALL]), None)] * 2


async def test_streams_that_were_interrupted_are_read_at_once_and_together(rig: Rig) -> None:
    checks = rig.start()
    checks.reopened({ALICE})
    checks.reopened({BOB})
    assert await rig.asked(1) == [(sorted([ALICE, BOB]), None)]
    await until(lambda: len(rig.observed) == 2)
    checks.reopened(None)
    assert (await rig.asked(2))[1:] == [(sorted([ALICE, BOB, ALL]), None)]


async def test_while_the_link_is_down_what_changed_is_read_often(rig: Rig) -> None:
    rig.start()
    rig.down = True
    asked = await rig.asked(3)
    assert all(window is not None and window < 65 for _, window in asked)
    rig.down = False
    before = len(rig.reader.asked)
    await asyncio.sleep(0.05)
    assert len(rig.reader.asked) == before


async def test_the_position_is_that_of_the_readings_begin(rig: Rig) -> None:
    rig.reader.may_answer.clear()
    rig.start().reopened({ALICE})
    await rig.asked(1)
    rig.position = Cursor("e1", 9)
    rig.reader.may_answer.set()
    await until(lambda: rig.observed == [(ALICE, HEAD, Cursor("e1", 6))])


async def test_many_streams_are_read_in_parts(rig: Rig) -> None:
    rig.open = [user_stream(str(number)) for number in range(history.NAMES_MAX + 1)]
    rig.start().reopened(None)
    await until(lambda: len(rig.observed) == len(rig.open))
    assert [len(streams) for streams, _ in rig.reader.asked] == [history.NAMES_MAX, 1]
    assert {stream for stream, _, _ in rig.observed} == set(rig.open)


async def test_a_failure_is_told_once_and_made_up_for(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.reader.error = OperationalError("gone")
    rig.start(every_secs=0.05).reopened({ALICE})
    await rig.asked(5)
    # The interrupted stream first, until it is read; what changed since then is not forgotten.
    assert {(tuple(streams), window) for streams, window in rig.reader.asked} == {((ALICE,), None)}
    assert rig.observed == []
    rig.reader.error = None
    failed = len(rig.reader.asked)
    asked = (await rig.asked(failed + 2))[failed:]
    assert asked[0] == ([ALICE], None)
    assert asked[1][1] is not None
    assert asked[1][1] >= 60.05
    await until(lambda: len(caplog.records) == 2)
    assert [record.getMessage() for record in caplog.records] == [
        "Heads cannot be compared with the database: OperationalError('gone')",
        "Heads are compared with the database again",
    ]
    assert caplog.records[0].exc_info is None


async def test_after_failures_what_changed_in_the_meantime_is_read(rig: Rig) -> None:
    rig.reader.error = TimeoutError()
    rig.start(every_secs=0.05)
    windows = [window for _, window in await rig.asked(10) if window is not None]
    assert windows == sorted(windows)
    # Nine ticks after the first try.
    assert windows[-1] > 60.1


async def test_a_mistake_with_one_stream_is_told_and_hurts_no_other(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def observe(stream: Stream, head: Head, since: Cursor) -> None:
        if stream == ALICE:
            raise LookupError("a mistake")
        rig.observed.append((stream, head, since))

    rig.observe = observe
    rig.start().reopened(None)
    await until(lambda: {stream for stream, _, _ in rig.observed} == {BOB, ALL})
    assert [record.getMessage() for record in caplog.records] == [f"The head of {ALICE} is not compared"]


async def test_a_mistake_in_reading_is_told_and_ends_no_checks(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.reader.error = LookupError("a mistake")
    rig.start().reopened({ALICE})
    await rig.asked(2)
    assert caplog.records[0].exc_info is not None
    rig.reader.error = None
    await until(lambda: rig.observed == [(ALICE, HEAD, Cursor("e1", 6))])


async def test_at_the_end_nothing_is_read(rig: Rig) -> None:
    await HeadChecks.close(rig.start())
    checks = rig.start(every_secs=0.01)
    rig.reader.may_answer.clear()
    await rig.asked(1)
    await checks.close()
    rig.reader.may_answer.set()
    await asyncio.sleep(0.05)
    assert len(rig.reader.asked) == 1


async def until(condition: Callable[[], bool], deadline_secs: float = 5) -> None:
    async with asyncio.timeout(deadline_secs):
        while not condition():
            await asyncio.sleep(0.001)
