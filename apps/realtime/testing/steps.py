"""An event loop that is run by hand, and a database without a thread (docs/testing.md)."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Steps:
    """Runs what a node does, in the thread that asks for it.

    The clock stands still while something can be done and is turned at once where everybody waits. What a node wants
    from the database is asked between two runs, on the connection of that thread: so it sees the transaction that the
    test is in, and Django sees no event loop around it.

    Attributes:
        problem: None: an answer always comes.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._clock = _Clock(self._wait)
        self._loop = _Loop(self._clock)
        self._questions: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        # When the present run is over.
        self._end = 0.0
        self._is_enough: Callable[[], bool] = _never

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The database of a node (node/database.py)."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._questions.append((partial(function, *args, **kwargs), answer))
        return await answer

    def run(self, secs: float = 0.0, until: Callable[[], bool] | None = None) -> None:
        """Let everything happen that does in so many seconds of the loop's clock, or until that is enough.

        Raises:
            RuntimeError: another event loop runs in this thread.
        """
        self._end = self._clock.now + secs
        self._is_enough = until or _never
        while True:
            self._loop.run_forever()
            if not self._questions:
                return
            self._answer()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task; it begins with the next run."""
        return self._loop.create_task(coroutine)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that needs no time but the database's, and return its result."""
        task = self.start(coroutine)
        self.run(until=task.done)
        return task.result()

    def close(self) -> None:
        """A node lets go of its database; the connection is the test's."""

    def end(self) -> None:
        """End whatever still runs."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self.run(until=lambda: all(task.done() for task in tasks))
        self._loop.close()

    def _wait(self, secs: float | None) -> None:
        """Nothing can be done; the next timer is due in `secs`, None where there is none."""
        if self._questions or self._is_enough():
            self._loop.stop()
        elif secs is not None and self._clock.now + secs <= self._end:
            self._clock.now += secs
        else:
            self._clock.now = self._end
            self._loop.stop()

    def _answer(self) -> None:
        questions, self._questions = self._questions, []
        for question, answer in questions:
            if answer.done():
                continue  # who asked is gone
            try:
                answer.set_result(question())
            except Exception as error:
                answer.set_exception(error)


def _never() -> bool:
    return False


class _Clock(selectors.DefaultSelector):
    """A selector that never waits."""

    def __init__(self, wait: Callable[[float | None], None]) -> None:
        super().__init__()
        self.now = 0.0
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            self._wait(timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: _Clock) -> None:
        super().__init__(clock)
        self._hand_turned = clock

    def time(self) -> float:
        return self._hand_turned.now
