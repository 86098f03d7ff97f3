"""The long task of the example: it takes its time and says how far it is (docs/demo.md)."""

import logging
import time
from contextlib import suppress
from threading import BoundedSemaphore, Thread
from typing import Final

from django.contrib.auth.models import User
from django.db import Error, connections, transaction

from apps.realtime import task_progress

from . import events
from .models import Task

logger = logging.getLogger(__name__)

# A real site hands tasks to a queue; here each one is a thread of the web process, so their number has an end.
_SLOTS: Final = BoundedSemaphore(16)
# Ten steps a second look smooth; the library throttles the events.
_STEP_SECS: Final = 0.1
# Well within TASK_SILENT_MAX.
_SIGN_OF_LIFE_STEPS: Final = 10


class TaskLost(Exception):
    """The thread was silent for so long that the task has been given up."""


def start_task(user: User, seconds: int) -> bool:
    """Start the task in a thread; False when too many are running."""
    if not _SLOTS.acquire(blocking=False):
        return False
    steps = round(seconds / _STEP_SECS)
    try:
        progress = task_progress(user, f"Task of {seconds} s", total=steps)
        task = Task.objects.create(id=progress.id, user=user, label=f"Task of {seconds} s", total=steps)
        # A daemon, so that stopping the server does not wait for it.
        Thread(target=_run, args=(task, progress), name="demo-task", daemon=True).start()
    except BaseException:
        _SLOTS.release()
        raise
    return True


def end_silent_tasks() -> None:
    """Tell the users of tasks whose process has ended; for a page that is about to show tasks."""
    for task in Task.silent().select_related("user"):
        with transaction.atomic():
            if task.change(state=Task.State.FAILED, error="Interrupted"):
                events.task_interrupted(task)


def _run(task: Task, progress: task_progress) -> None:
    try:
        with progress:
            for step in range(1, task.total + 1):
                time.sleep(_STEP_SECS)
                progress.advance()
                if step % _SIGN_OF_LIFE_STEPS == 0:
                    _sign_of_life(task, step)
            # The row before the event: a page that missed the event finds the row.
            if not task.change(state=Task.State.DONE, done=task.total):
                raise TaskLost
        events.task_ended(task)
    except Exception as error:
        logger.exception("A task of the demo failed")
        if task.change(state=Task.State.FAILED, error=type(error).__name__):
            events.task_ended(task)
    finally:
        # A thread's database connections are its own to close.
        connections.close_all()
        _SLOTS.release()


def _sign_of_life(task: Task, done: int) -> None:
    try:
        running = task.change(done=done)
    except Error:
        # The database is away for a moment; the task can do without.
        with suppress(Error):
            connections.close_all()
        return
    if not running:
        raise TaskLost
