"""The tokens of many sockets together (docs/node.md)."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from django.db import OperationalError

from apps.realtime.core.session import Identity
from apps.realtime.node import authentication, identity
from apps.realtime.node.authentication import BATCHES, Authentication
from apps.realtime.node.database import DatabaseThreads
from apps.realtime.tokens import TokenRefused

Answer = Identity | TokenRefused


def someone(name: str) -> Identity:
    return Identity(name, name, 0.0, "", "")


class Table:
    """Stands for the database: knows those whose token does not begin with "bad".

    Attributes:
        asked: the batches, oldest first.
        may_answer: while it is not set, questions wait in their threads.
    """

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.error: Exception | None = None

    def was_asked(self, times: int) -> bool:
        return len(self.asked) == times

    def identify(self, tokens: list[str], now: float) -> list[Answer]:
        self.asked.append(tokens)
        assert self.may_answer.wait(10)
        if self.error is not None:
            raise self.error
        return [TokenRefused("bad") if token.startswith("bad") else someone(token) for token in tokens]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    table = Table()
    monkeypatch.setattr(identity, "identify", table.identify)
    return table


@pytest.fixture
def threads() -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads()
    yield threads
    threads.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def all_batches_are_asked(together: Authentication, table: Table) -> list[asyncio.Future[Identity]]:
    """Tokens that keep every runner busy until `may_answer`."""
    table.may_answer.clear()
    asked = len(table.asked)
    first: list[asyncio.Future[Identity]] = []
    for number in range(BATCHES):
        first.append(asyncio.ensure_future(together.identify(f"first {number}")))
        await until(partial(table.was_asked, asked + number + 1))
    return first


async def test_those_of_one_turn_go_together_and_each_gets_its_own_answer(
    table: Table, threads: DatabaseThreads
) -> None:
    together = Authentication(threads)
    answers = await asyncio.gather(*(together.identify(token) for token in ("a", "bad", "b")), return_exceptions=True)
    assert table.asked == [["a", "bad", "b"]]
    assert [answers[0], answers[2]] == [someone("a"), someone("b")]
    assert isinstance(answers[1], TokenRefused)


async def test_those_that_come_meanwhile_go_together_next(
    table: Table, threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "BATCH_TOKENS", 3)
    together = Authentication(threads)
    first = await all_batches_are_asked(together, table)
    later = [asyncio.ensure_future(together.identify(f"later {number}")) for number in range(5)]
    await asyncio.sleep(0)
    assert len(table.asked) == BATCHES
    table.may_answer.set()
    assert await asyncio.gather(*first, *later) == [
        someone(f"{kind} {number}") for kind, count in (("first", BATCHES), ("later", 5)) for number in range(count)
    ]
    assert sorted(map(len, table.asked[BATCHES:])) == [2, 3]


async def test_a_batch_that_hangs_does_not_hold_up_the_next(table: Table, threads: DatabaseThreads) -> None:
    together = Authentication(threads)
    table.may_answer.clear()
    hanging = asyncio.ensure_future(together.identify("hangs"))
    await until(lambda: len(table.asked) == 1)
    table.may_answer = threading.Event()
    table.may_answer.set()
    assert await together.identify("b") == someone("b")
    assert not hanging.done()
    hanging.cancel()


async def test_without_the_database_each_is_told_so(table: Table, threads: DatabaseThreads) -> None:
    together = Authentication(threads)
    table.error = OperationalError("gone")
    errors = await asyncio.gather(*(together.identify(token) for token in "ab"), return_exceptions=True)
    assert [type(error) for error in errors] == [OperationalError] * 2
    assert errors[0] is not errors[1]
    table.error = None
    assert await together.identify("a") == someone("a")


async def test_a_socket_that_has_gone_meanwhile_takes_nobody_along(table: Table, threads: DatabaseThreads) -> None:
    together = Authentication(threads)
    table.may_answer.clear()
    gone, here = (asyncio.ensure_future(together.identify(token)) for token in ("gone", "here"))
    await until(lambda: len(table.asked) == 1)
    gone.cancel()
    table.may_answer.set()
    assert await here == someone("here")
    assert gone.cancelled()


async def test_a_token_that_comes_as_the_last_batches_end_is_answered(table: Table, threads: DatabaseThreads) -> None:
    together = Authentication(threads)
    late: list[asyncio.Future[Identity]] = []

    def one_more(_: object) -> None:
        late.append(asyncio.ensure_future(together.identify("late")))

    for _ in range(20):
        first = await all_batches_are_asked(together, table)
        for each in first:
            each.add_done_callback(one_more)
        table.may_answer.set()
        await asyncio.wait(first, timeout=10)
        assert await asyncio.wait_for(asyncio.gather(*late), 10) == [someone("late")] * BATCHES
        late.clear()


async def test_a_token_that_waits_too_long_for_its_turn_is_given_up_and_not_asked_for(
    table: Table, threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "TIMEOUT_SECS", 0.2)
    together = Authentication(threads)
    first = await all_batches_are_asked(together, table)
    with pytest.raises(TimeoutError):
        await together.identify("waits")
    await asyncio.gather(*first, return_exceptions=True)
    monkeypatch.setattr(authentication, "TIMEOUT_SECS", 10)
    table.may_answer.set()
    assert await together.identify("next") == someone("next")
    assert ["waits"] not in table.asked
    assert table.asked[-1] == ["next"]
