"""The long task of the example: it takes its time and says how far it is (docs/demo.md)."""

import time
from threading import BoundedSemaphore, Thread
from typing import Final

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connections

from apps.realtime import task_progress

# A real site hands tasks to a queue; here each one is a thread of the web process, so their number has an end.
_SLOTS: Final = BoundedSemaphore(16)
# Ten steps a second look smooth; the library throttles the events.
_STEP_SECS: Final = 0.1


def start_task(user: AbstractBaseUser, seconds: int) -> bool:
    """Start the task in a thread; False when too many are running."""
    if not _SLOTS.acquire(blocking=False):
        return False
    # A daemon, so that stopping the server does not wait for it.
    Thread(target=_run, args=(user, seconds), name="demo-task", daemon=True).start()
    return True


def _run(user: AbstractBaseUser, seconds: int) -> None:
    steps = round(seconds / _STEP_SECS)
    try:
        with task_progress(user, f"Task of {seconds} s", total=steps) as task:
            for _ in range(steps):
                time.sleep(_STEP_SECS)
                task.advance()
    finally:
        # A thread's database connections are its own to close.
        connections.close_all()
        _SLOTS.release()
