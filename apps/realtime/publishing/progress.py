"""Progress of a long task, for a bar in the user's tabs (docs/publishing.md)."""

import logging
import time
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.db import Error
from django.utils.asyncio import async_unsafe

from ..core.errors import RealtimeError
from ..topics import topic_registry
from .notify import notify
from .push import push
from .targets import Recipient, existing_targets_of

logger = logging.getLogger(__name__)

# People see no more than ten steps a second.
MIN_TICK_SECS: Final = 0.1


class task_progress:
    """Tell `to` how far a task is: `task/PROGRESS` while it runs, `task/DONE` or `task/FAILED` at the end.

        with task_progress(user, "Import", total=900) as task:
            for row in rows:
                ...
                task.advance()

    The data of each event is a state, `{task, label, done, total}`. A step may be missed, so it is pushed; the end may
    not, so it is a durable event. In async code: `async with`.
    """

    def __init__(self, to: Recipient, label: str, *, total: int) -> None:
        if total < 1:
            raise ValueError(f"total = {total}: a task has at least one step")
        self.id = uuid4().hex
        self._to = to
        self._label = label
        self._total = total
        self._done = 0
        self._next_tick_at = 0.0

    @async_unsafe("The end of a task is stored in the database. In async code, write `async with task_progress(…)`.")
    def __enter__(self) -> Self:
        # Who does not exist is refused before the work, not after it.
        existing_targets_of(self._to, topic_registry())
        self._tick()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._done = self._total
            notify(self._to, "task/DONE", self._state())
        else:
            self._tell_failure(error)

    async def __aenter__(self) -> Self:
        return await sync_to_async(self.__enter__)()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await sync_to_async(self.__exit__)(kind, error, traceback)

    def advance(self, steps: int = 1) -> None:
        """Some steps are done; tells it at most ten times a second."""
        self._done = min(self._total, self._done + steps)
        if time.monotonic() >= self._next_tick_at:
            self._tick()

    def _tell_failure(self, error: BaseException) -> None:
        # The message of an exception may hold what no user should read.
        state = self._state() | {"error": type(error).__name__}
        try:
            notify(self._to, "task/FAILED", state)
        except (Error, RealtimeError):
            # Often the task's own error has broken the transaction or the connection, or the user is gone. It is the
            # one to be raised.
            logger.warning("The failure of task %r could not be stored", self._label, exc_info=True)
            push(self._to, "task/FAILED", state)

    def _tick(self) -> None:
        self._next_tick_at = time.monotonic() + MIN_TICK_SECS
        push(self._to, "task/PROGRESS", self._state())

    def _state(self) -> dict[str, object]:
        return {"task": self.id, "label": self._label, "done": self._done, "total": self._total}
