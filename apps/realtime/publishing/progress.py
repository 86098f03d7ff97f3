"""Progress of a long task, for a bar in the user's tabs (docs/publishing.md)."""

import time
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from .push import push
from .targets import Recipient

# People see no more than ten steps a second.
MIN_TICK_SECS: Final = 0.1


class task_progress:
    """Tell `to` how far a task is: `task/PROGRESS` while it runs, `task/DONE` or `task/FAILED` at the end.

        with task_progress(user, "Import", total=900) as task:
            for row in rows:
                ...
                task.advance()

    The data of each event is a state, `{task, label, done, total}`, so that any one of them may be missed.
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

    def __enter__(self) -> Self:
        self._tick()
        return self

    def advance(self, steps: int = 1) -> None:
        """Some steps are done; tells it at most ten times a second."""
        self._done = min(self._total, self._done + steps)
        if time.monotonic() >= self._next_tick_at:
            self._tick()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._done = self._total
            push(self._to, "task/DONE", self._state())
        else:
            # The message of an exception may hold what no user should read.
            push(self._to, "task/FAILED", self._state() | {"error": type(error).__name__})

    def _tick(self) -> None:
        self._next_tick_at = time.monotonic() + MIN_TICK_SECS
        push(self._to, "task/PROGRESS", self._state())

    def _state(self) -> dict[str, object]:
        return {"task": self.id, "label": self._label, "done": self._done, "total": self._total}
