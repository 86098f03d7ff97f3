"""Many requests, few queries (docs/history.md)."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY

from apps.realtime.core.names import ALL, user_stream
from apps.realtime.core.names import Stream as Name
from apps.realtime.core.resume import Cursor, Head
from apps.realtime.models import StoredEvent, Stream
from apps.realtime.node import history
from apps.realtime.node.database import DatabaseThreads
from apps.realtime.node.history import HistoryReader

pytestmark = pytest.mark.django_db(transaction=True)
ALICE, BOB = user_stream("1"), user_stream("2")
P = ParamSpec("P")
T = TypeVar("T")


class Database(DatabaseThreads):
    """The database, which a test can hold up and break.

    Attributes:
        asked: how many questions came.
        requests: what each batch wanted.
        error: raised after each answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.requests: list[Any] = []
        self.error: Exception | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def answer() -> T:
            self.may_answer.wait(30)
            found = function(*args, **kwargs)
            if self.error is not None:
                raise self.error
            return found

        self.asked += 1
        self.requests.append(args[0])
        return await super().ask(answer)


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database()
    yield database
    database.may_answer.set()
    database.close()
    # A statement that is still on its way would meet the emptying of the tables.
    database._executor.shutdown(wait=True)


@pytest.fixture
def reader(database: Database) -> Iterator[HistoryReader]:
    reader = HistoryReader(database, replay_max=5)
    yield reader
    reader.close()


@pytest.fixture
def reads() -> Callable[[], int]:
    """How many queries the metric has counted since the test began."""

    def total() -> int:
        return int(REGISTRY.get_sample_value("realtime_history_reads_total") or 0)

    before = total()
    return lambda: total() - before


def store(stream: Name, *seqs: int, head: int, floor: int = 0) -> None:
    Stream.objects.update_or_create(name=stream, defaults={"epoch": "e1", "head": head, "floor": floor})
    StoredEvent.objects.bulk_create(
        StoredEvent(stream=stream, epoch="e1", seq=seq, mid="m", event_id="a", frame="{}") for seq in seqs
    )


def seqs(page: history.Page) -> list[int]:
    return [event.seq for event in page.events]


@pytest.fixture
def stored(transactional_db: None) -> None:
    """Alice has 3 of 10 events left, Bob 2."""
    store(ALICE, 8, 9, 10, head=10, floor=7)
    store(BOB, 1, 2, head=2)


@pytest.mark.usefixtures("stored")
async def test_a_head(reader: HistoryReader) -> None:
    assert await reader.head(ALICE) == Head("e1", 10, 7)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("since", "count"),
    [
        (Cursor("e1", 10), 0),
        (Cursor("e1", 9), 1),
        (Cursor("e1", 7), 3),
        # Trimmed: fewer than were given.
        (Cursor("e1", 6), 3),
        (Cursor("e1", 5), 3),
        # More than replay_max: not even counted.
        (Cursor("e1", 4), 0),
        (Cursor("e1", 11), 0),
        (Cursor("e2", 9), 0),
        (Cursor("", 0), 0),
    ],
)
async def test_a_verdict_counts_what_is_stored_behind_a_cursor(
    reader: HistoryReader, since: Cursor, count: int
) -> None:
    assert await reader.verdict(ALICE, since) == (Head("e1", 10, 7), count)


@pytest.mark.usefixtures("stored")
async def test_a_page_has_its_head(reader: HistoryReader) -> None:
    page = await reader.page(ALICE, "e1", 8)
    assert (page.head, seqs(page)) == (Head("e1", 10, 7), [9, 10])
    page = await reader.page(ALICE, "e2", 8)
    assert (page.head, seqs(page)) == (Head("e1", 10, 7), [])


@pytest.mark.usefixtures("stored")
async def test_a_burst_is_one_batch_of_three_queries(
    reader: HistoryReader, database: Database, reads: Callable[[], int]
) -> None:
    heads, verdicts, pages = await asyncio.gather(
        asyncio.gather(*(reader.head(user_stream(str(number))) for number in range(400))),
        asyncio.gather(*(reader.verdict(stream, Cursor("e1", 1)) for stream in (ALICE, BOB))),
        asyncio.gather(*(reader.page(stream, "e1", 0) for stream in (ALICE, BOB, ALL))),
    )
    assert heads[1:3] == [Head("e1", 10, 7), Head("e1", 2, 0)]
    assert [count for _, count in verdicts] == [0, 1]
    assert [seqs(page) for page in pages] == [[], [1, 2], []]
    assert (database.asked, reads()) == (1, 3)


@pytest.mark.usefixtures("stored")
async def test_queries_that_nobody_needs_are_not_made(reader: HistoryReader, reads: Callable[[], int]) -> None:
    await reader.head(ALICE)
    assert reads() == 1
    # Nothing is missed, so nothing is counted.
    await asyncio.gather(reader.verdict(ALICE, Cursor("e1", 10)), reader.head(BOB))
    assert reads() == 2
    await reader.page(ALICE, "e1", 0)
    assert reads() == 4


@pytest.mark.usefixtures("stored")
async def test_equal_requests_share_one_answer(reader: HistoryReader, database: Database) -> None:
    pages = await asyncio.gather(*(reader.page(BOB, "e1", 0) for _ in range(3)))
    assert pages[0] is pages[1] is pages[2]
    assert database.asked == 1


@pytest.mark.usefixtures("stored")
async def test_an_answer_comes_from_queries_that_started_after_the_request(
    reader: HistoryReader, database: Database
) -> None:
    database.may_answer.clear()
    early = asyncio.ensure_future(reader.head(BOB))
    await until(lambda: database.asked == 1)
    late = asyncio.ensure_future(reader.head(BOB))
    for _ in range(5):
        await asyncio.sleep(0)
    database.may_answer.set()
    await early
    assert not late.done()
    await asyncio.to_thread(store, BOB, 3, head=3)
    assert await late == Head("e1", 3, 0)
    assert database.asked == 2


@pytest.mark.usefixtures("stored")
async def test_in_any_second_there_are_20_queries_at_most(
    reader: HistoryReader, monkeypatch: pytest.MonkeyPatch, reads: Callable[[], int]
) -> None:
    loop = asyncio.get_running_loop()
    paid: list[tuple[float, int]] = []
    pay = reader._pay

    def noted(queries: int) -> None:
        paid.append((loop.time(), queries))
        pay(queries)

    monkeypatch.setattr(reader, "_pay", noted)

    async def checks() -> None:
        while len(paid) < 20:
            await reader.heads([ALICE])

    async def session(number: int) -> None:
        while len(paid) < 20:
            await reader.verdict(ALICE, Cursor("e1", 8))
            await reader.page(BOB, "e1", number)

    await asyncio.gather(checks(), *(session(number) for number in range(5)))
    assert max(sum(n for at, n in paid if start <= at < start + 1) for start, _ in paid) <= 20
    assert reads() == sum(queries for _, queries in paid)


async def test_a_batch_is_bounded(reader: HistoryReader, database: Database, reads: Callable[[], int]) -> None:
    await asyncio.gather(*(reader.head(user_stream(str(number))) for number in range(601)))
    assert (database.asked, reads()) == (2, 2)
    await asyncio.gather(*(reader.page(ALICE, "e1", after) for after in range(201)))
    assert (database.asked, reads()) == (4, 6)
    await asyncio.gather(*(reader.verdict(ALICE, Cursor("e1", seq)) for seq in range(201)))
    assert (database.asked, reads()) == (6, 8)


async def test_verdicts_of_a_batch_count_so_many_rows_at_most(database: Database) -> None:
    reader = HistoryReader(database, replay_max=history.COUNTED_MAX // 3)
    await asyncio.gather(*(reader.verdict(ALICE, Cursor("e1", seq)) for seq in range(6)))
    assert database.asked == 2
    reader.close()


async def test_only_pages_wait_for_pages(reader: HistoryReader, database: Database) -> None:
    pages = [reader.page(ALICE, "e1", after) for after in range(250)]
    await asyncio.gather(*pages, reader.head(BOB))
    first, second = database.requests
    assert BOB in {request.stream for request in first}
    assert {request.stream for request in second} == {ALICE}


async def test_an_error_comes_to_everybody_and_the_next_batch_is_asked(
    reader: HistoryReader, database: Database
) -> None:
    database.error = OperationalError("gone")
    outcomes = await asyncio.gather(reader.head(ALICE), reader.head(BOB), reader.head(BOB), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["gone"] * 3
    # Each its own: a traceback grows with everybody who raises it.
    assert len({id(outcome) for outcome in outcomes if isinstance(outcome, OperationalError)}) == 3
    database.error = TimeoutError()
    with pytest.raises(TimeoutError):
        await reader.page(ALICE, "e1", 0)
    database.error = LookupError("a mistake of ours")
    with pytest.raises(LookupError):
        await reader.verdict(ALICE, Cursor("e1", 0))
    database.error = None
    assert (await reader.head(ALICE)).head == 0


async def test_who_goes_away_disturbs_nobody(reader: HistoryReader, database: Database) -> None:
    database.may_answer.clear()
    gone, stays = (asyncio.ensure_future(reader.head(BOB)) for _ in range(2))
    await until(lambda: database.asked == 1)
    never_asked = asyncio.ensure_future(reader.head(ALICE))
    await asyncio.sleep(0)
    gone.cancel()
    never_asked.cancel()
    await asyncio.wait([gone, never_asked])
    database.may_answer.set()
    assert (await stays).head == 0
    database.error = OperationalError("gone")
    gone, stays = (asyncio.ensure_future(reader.head(BOB)) for _ in range(2))
    await until(lambda: database.asked == 2)
    gone.cancel()
    with pytest.raises(OperationalError):
        await stays
    # What nobody waited for was no question.
    assert database.asked == 2


async def test_heads_of_many_streams_are_a_query_of_their_own(
    reader: HistoryReader, stored: None, reads: Callable[[], int]
) -> None:
    found = await reader.heads([ALICE, BOB, ALL])
    assert (found[ALICE], found[BOB], found[ALL].head) == (Head("e1", 10, 7), Head("e1", 2, 0), 0)
    assert await reader.heads([ALICE, ALL], changed_within_secs=60) == {ALICE: Head("e1", 10, 7)}
    assert await reader.heads([ALICE, ALL], changed_within_secs=-60) == {}
    assert reads() == 3


async def test_after_the_end_nobody_waits(reader: HistoryReader, database: Database) -> None:
    database.may_answer.clear()
    asked = asyncio.ensure_future(reader.head(ALICE))
    await until(lambda: database.asked == 1)
    waiting = asyncio.ensure_future(reader.head(BOB))
    await asyncio.sleep(0)
    reader.close()
    late = asyncio.ensure_future(reader.head(BOB))
    await asyncio.wait_for(asyncio.wait([asked, waiting, late]), 5)
    assert all(task.cancelled() for task in (asked, waiting, late))
    assert database.asked == 1


async def until(condition: Callable[[], bool], deadline_secs: float = 5) -> None:
    async with asyncio.timeout(deadline_secs):
        while not condition():
            await asyncio.sleep(0.001)
