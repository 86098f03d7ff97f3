"""The long task of the example."""

import threading
from typing import Any, Self

import pytest
from django.contrib.auth.models import User

from apps.demo import tasks


class RecordedProgress:
    """Stands in for `task_progress` and waits where a test wants it to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, str, int]] = []
        self.steps = 0
        self.gate = threading.Event()
        self.ended = threading.Semaphore(0)

    def __call__(self, user: Any, label: str, *, total: int) -> Self:
        self.calls.append((user, label, total))
        return self

    def __enter__(self) -> Self:
        assert self.gate.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.release()

    def advance(self) -> None:
        self.steps += 1


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> RecordedProgress:
    recorded = RecordedProgress()
    monkeypatch.setattr(tasks, "task_progress", recorded)
    monkeypatch.setattr(tasks, "_STEP_SECS", 0.001)
    return recorded


def test_a_task_tells_each_step(progress: RecordedProgress) -> None:
    user = User(username="ann")
    progress.gate.set()
    assert tasks.start_task(user, 1)
    assert progress.ended.acquire(timeout=30)
    assert progress.calls == [(user, "Task of 1 s", 1000)]
    assert progress.steps == 1000


def test_the_number_of_tasks_has_an_end(progress: RecordedProgress) -> None:
    user = User(username="ann")
    started = 0
    while tasks.start_task(user, 0):
        started += 1
        assert started <= 100
    assert started > 1
    progress.gate.set()
    for _ in range(started):
        assert progress.ended.acquire(timeout=30)
