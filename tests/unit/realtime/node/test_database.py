"""How a node's sockets ask the database (docs/node.md)."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from django.db import OperationalError

from apps.realtime.node import database
from apps.realtime.node.database import THREADS, DatabaseThreads
from apps.realtime.tokens import TokenRefused


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseThreads]:
    """Threads with a short patience."""
    monkeypatch.setattr(database, "TIMEOUT_SECS", 0.1)
    threads = DatabaseThreads()
    yield threads
    threads.close()


@pytest.fixture
def answer() -> Iterator[threading.Event]:
    """What a silent database waits for."""
    event = threading.Event()
    yield event
    event.set()


async def test_an_answer_is_an_answer(threads: DatabaseThreads) -> None:
    threads.problem = "from before"
    assert await threads.ask(max, 1, 2) == 2
    assert threads.problem is None


async def test_a_refusal_is_an_answer_and_an_error_of_the_database_is_none(threads: DatabaseThreads) -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(OperationalError):
        await threads.ask(fail, OperationalError("gone"))
    assert threads.problem == "OperationalError"
    with pytest.raises(TokenRefused):
        await threads.ask(fail, TokenRefused("expired"))
    assert threads.problem is None


async def test_questions_do_not_wait_for_each_other(threads: DatabaseThreads, answer: threading.Event) -> None:
    slow = asyncio.ensure_future(threads.ask(answer.wait, 30))
    assert await threads.ask(max, 1, 2) == 2
    answer.set()
    assert await slow


async def test_when_every_thread_is_kept_new_ones_take_over(threads: DatabaseThreads, answer: threading.Event) -> None:
    asked = [threads.ask(answer.wait, 30) for _ in range(THREADS)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TimeoutError] * THREADS
    assert threads.problem == "no answer within 0 s"
    # The old ones are still kept, and nobody is held up by it.
    assert await threads.ask(max, 1, 2) == 2
    assert threads.problem is None


async def test_a_question_in_the_queue_of_the_old_threads_is_not_answered(
    threads: DatabaseThreads, answer: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [asyncio.ensure_future(threads.ask(answer.wait, 30)) for _ in range(THREADS)]
    await asyncio.sleep(0)
    monkeypatch.setattr(database, "TIMEOUT_SECS", 30)
    with pytest.raises(TimeoutError):
        await threads.ask(max, 1, 2)
    assert {type(task.exception()) for task in asked} == {TimeoutError}


async def test_who_goes_away_says_nothing_about_the_database(threads: DatabaseThreads, answer: threading.Event) -> None:
    threads.problem = "from before"
    gone = asyncio.ensure_future(threads.ask(answer.wait, 30))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert threads.problem == "from before"


class Connection:
    """What Django holds for a database."""

    def __init__(self) -> None:
        self.health_check_done = False
        self.asked = 0

    def use(self) -> None:
        """As Django does before a cursor."""
        if not self.health_check_done:
            self.asked += 1
            self.health_check_done = True

    def close_if_unusable_or_obsolete(self) -> None:
        self.health_check_done = False


async def test_a_connection_is_asked_whether_it_is_alive_once_a_second_and_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection, now = Connection(), [100.0]

    class Connections:
        def all(self, initialized_only: bool = False) -> list[Connection]:
            return [connection]

    def fail() -> None:
        connection.use()
        raise OperationalError("gone")

    monkeypatch.setattr(database, "connections", Connections())
    monkeypatch.setattr(database, "close_old_connections", connection.close_if_unusable_or_obsolete)
    monkeypatch.setattr("apps.realtime.node.database.monotonic", lambda: now[0])
    monkeypatch.setattr(database, "_this_thread", database._ThisThread())
    for _ in range(3):
        database._call(connection.use)
        now[0] += 0.4
    assert connection.asked == 1
    database._call(connection.use)
    assert connection.asked == 2
    with pytest.raises(OperationalError):
        database._call(fail)
    assert connection.asked == 2
    database._call(connection.use)
    assert connection.asked == 3
