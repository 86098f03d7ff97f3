"""Threads with a database connection of their own, whose errors are the test's (docs/stack.md)."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from django.db import connections

_JOIN_SECS = 60


class Worker(threading.Thread):
    """Runs `task` once, or with `again` until the block ends: `with Worker(task, again=True): …`."""

    def __init__(self, task: Callable[[], object], *, again: bool = False) -> None:
        super().__init__(daemon=True)
        self.rounds = 0
        self._task = task
        self._again = again
        self._ending = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while True:
                self._task()
                self.rounds += 1
                if not self._again or self._ending.is_set():
                    break
        except BaseException as error:
            self._error = error
        finally:
            # Every alias that this thread has used.
            connections.close_all()

    def finish(self) -> None:
        """Wait for its end; raises what it has raised."""
        self._ending.set()
        self.join(_JOIN_SECS)
        assert not self.is_alive(), "a thread of the test hangs"
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
