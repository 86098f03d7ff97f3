"""Waiting for a condition, never for a time (docs/stack.md)."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

# Short against everything waited for here (a process start is 100 ms and more), long enough to cost no CPU.
_POLL_SECS = 0.05
_LOG_LINES = 25


class DeadlineError(AssertionError):
    """What was waited for did not come in time. The message ends with the last lines of the logs."""


def wait_for(
    condition: Callable[[], _T],
    deadline_secs: float,
    what: str,
    logs: Iterable[Path] = (),
    poll_secs: float = _POLL_SECS,
) -> _T:
    """Call `condition` until it returns something true and return that.

    Raises `DeadlineError` after `deadline_secs`, naming `what` and quoting the ends of `logs`.
    """
    end = time.monotonic() + deadline_secs
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= end:
            quotes = "".join(f"\n--- {log}\n{tail(log)}" for log in logs)
            raise DeadlineError(f"not within {deadline_secs:g} s: {what}{quotes}")
        time.sleep(poll_secs)


def tail(log: Path, lines: int = _LOG_LINES) -> str:
    """The last lines of a log file, or why there are none."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"({error.strerror})"
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"
