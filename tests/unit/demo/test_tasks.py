"""The long task of the example."""

import threading
from collections.abc import Iterator
from typing import Any, Self
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from apps.demo import tasks
from apps.demo.models import Task
from apps.realtime.models import InboxItem

pytestmark = pytest.mark.django_db(transaction=True)


class RecordedProgress:
    """Stands in for `task_progress` and waits where a test wants it to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, str, int]] = []
        self.steps = 0
        self.gate = threading.Event()
        self.endings: list[Any] = []
        self.ended = threading.Semaphore(0)

    @property
    def id(self) -> str:
        return f"task-{len(self.calls)}"

    def __call__(self, user: Any, label: str, *, total: int) -> Self:
        self.calls.append((user, label, total))
        return self

    def __enter__(self) -> Self:
        assert self.gate.wait(10)
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.endings.append(kind)

    def advance(self) -> None:
        self.steps += 1


class Slots:
    """Two of them; tells when one is free again: what a thread does last."""

    def __init__(self, progress: RecordedProgress) -> None:
        self._slots = threading.BoundedSemaphore(2)
        self._progress = progress

    def acquire(self, *, blocking: bool) -> bool:
        return self._slots.acquire(blocking=blocking)

    def release(self) -> None:
        self._slots.release()
        self._progress.ended.release()


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedProgress]:
    recorded = RecordedProgress()
    monkeypatch.setattr(tasks, "task_progress", recorded)
    monkeypatch.setattr(tasks, "_STEP_SECS", 0.005)
    monkeypatch.setattr(tasks, "_SLOTS", Slots(recorded))
    yield recorded
    recorded.gate.set()


def run(progress: RecordedProgress, user: User, seconds: float = 0.5) -> Task:
    """Start a task and wait for its end."""
    assert tasks.start_task(user, seconds)  # type: ignore[arg-type]
    progress.gate.set()
    assert progress.ended.acquire(timeout=30)
    return Task.objects.get()


def test_a_task_tells_each_step_and_keeps_its_row(progress: RecordedProgress, ann: User) -> None:
    task = run(progress, ann)
    assert progress.calls == [(ann, "Task of 0.5 s", 100)]
    assert (progress.steps, progress.endings) == (100, [None])
    assert (task.pk, task.user, task.label, task.state) == ("task-1", ann, "Task of 0.5 s", "done")
    assert (task.done, task.total) == (100, 100)


def test_the_end_of_a_task_is_a_notification(
    progress: RecordedProgress, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(progress, ann)
    monkeypatch.setattr(progress, "advance", lambda: 1 / 0)
    assert tasks.start_task(ann, 1)
    assert progress.ended.acquire(timeout=30)
    assert told(ann) == [("Task of 0.5 s: done", "/"), ("Task of 1 s: failed", "/")]


def told(user: User) -> list[tuple[str, str]]:
    """Title and link of each notification of a task's end."""
    items = InboxItem.objects.filter(user_id=str(user.pk), event_id="task/ENDED")
    return list(items.order_by("id").values_list("title", "url"))


def test_a_running_task_gives_signs_of_life(progress: RecordedProgress, ann: User) -> None:
    seen: list[int] = []
    change = Task.change

    def watched(task: Task, **fields: object) -> bool:
        seen.append(int(str(fields["done"])))
        return change(task, **fields)

    with patch.object(Task, "change", watched):
        run(progress, ann)
    assert seen == [*range(10, 101, 10), 100]


def test_the_row_is_there_before_the_thread(progress: RecordedProgress, ann: User) -> None:
    assert tasks.start_task(ann, 1)
    assert Task.objects.get().state == "running"
    progress.gate.set()
    assert progress.ended.acquire(timeout=30)


def test_a_task_that_fails(progress: RecordedProgress, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(progress, "advance", broken)
    task = run(progress, ann)
    assert (task.state, task.error) == ("failed", "ZeroDivisionError")
    assert progress.endings == [ZeroDivisionError]


def test_a_task_that_was_given_up_ends_as_failed(progress: RecordedProgress, ann: User) -> None:
    assert tasks.start_task(ann, 1)
    Task.objects.update(state=Task.State.FAILED, error="Interrupted")
    progress.gate.set()
    assert progress.ended.acquire(timeout=30)
    assert progress.endings == [tasks.TaskLost]
    assert Task.objects.get().error == "Interrupted"
    assert told(ann) == [], "who gave it up has told"


def test_a_task_does_without_the_database_for_a_moment(progress: RecordedProgress, ann: User) -> None:
    change = Task.change

    def away(task: Task, **fields: object) -> bool:
        if "state" not in fields:
            raise OperationalError
        return change(task, **fields)

    with patch.object(Task, "change", away):
        assert run(progress, ann).state == "done"


def test_the_number_of_tasks_has_an_end(progress: RecordedProgress, ann: User) -> None:
    assert tasks.start_task(ann, 1)
    assert tasks.start_task(ann, 1)
    assert not tasks.start_task(ann, 1)
    assert Task.objects.count() == 2
    progress.gate.set()
    for _ in range(2):
        assert progress.ended.acquire(timeout=30)


def test_a_task_that_cannot_be_stored_takes_no_slot(progress: RecordedProgress) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="unsaved"):
            tasks.start_task(User(username="nobody"), 1)
