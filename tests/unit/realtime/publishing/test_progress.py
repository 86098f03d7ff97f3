"""Progress of a long task (docs/publishing.md)."""

import json
from typing import Any

import pytest

from apps.realtime import task_progress
from apps.realtime.publishing import progress as module
from tests.unit.conftest import RecordingPublisher


class Clock:
    """Stands in for `time`; moved by the test."""

    def __init__(self) -> None:
        self.now = 500.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the throttle reads."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def seen(publisher: RecordingPublisher) -> list[tuple[str, Any]]:
    return [(event.id, json.loads(event.frame)["data"]) for event in publisher.events]


def test_it_tells_the_beginning_the_steps_and_the_end(published: RecordingPublisher, clock: Clock) -> None:
    with task_progress(7, "Import", total=3) as task:
        for _ in range(3):
            clock.now += 1
            task.advance()
    state = {"task": task.id, "label": "Import", "total": 3}
    assert seen(published) == [
        ("task/PROGRESS", state | {"done": 0}),
        ("task/PROGRESS", state | {"done": 1}),
        ("task/PROGRESS", state | {"done": 2}),
        ("task/PROGRESS", state | {"done": 3}),
        ("task/DONE", state | {"done": 3}),
    ]
    assert {event.stream for event in published.events} == {"user.7"}


def test_it_tells_at_most_ten_times_a_second(published: RecordingPublisher, clock: Clock) -> None:
    with task_progress(7, "Import", total=1_000) as task:
        for _ in range(1_000):
            clock.now += 0.01
            task.advance()
    ticks = [data["done"] for event_id, data in seen(published) if event_id == "task/PROGRESS"]
    assert 90 <= len(ticks) <= 101
    assert ticks == sorted(set(ticks))
    assert seen(published)[-1][1]["done"] == 1_000


def test_a_step_may_be_several_and_never_leads_beyond_the_end(published: RecordingPublisher, clock: Clock) -> None:
    with task_progress(7, "Import", total=10) as task:
        for steps in (4, 40):
            clock.now += 1
            task.advance(steps)
    assert [data["done"] for _, data in seen(published)] == [0, 4, 10, 10]


def test_done_means_done(published: RecordingPublisher, clock: Clock) -> None:
    with task_progress(7, "Import", total=10):
        pass
    assert seen(published)[-1][0] == "task/DONE"
    assert seen(published)[-1][1]["done"] == 10


def test_a_failure_is_told_without_its_message_and_goes_on(published: RecordingPublisher, clock: Clock) -> None:
    def work(task: task_progress) -> None:
        clock.now += 1
        task.advance(3)
        raise ValueError("secret of the shop")

    with pytest.raises(ValueError, match="secret"), task_progress(7, "Import", total=10) as task:
        work(task)
    event_id, data = seen(published)[-1]
    assert event_id == "task/FAILED"
    assert data == {"task": task.id, "label": "Import", "done": 3, "total": 10, "error": "ValueError"}
    assert "secret" not in published.events[-1].frame


def test_two_tasks_can_be_told_apart(published: RecordingPublisher, clock: Clock) -> None:
    with task_progress(7, "a", total=1) as one, task_progress(7, "b", total=1) as other:
        assert one.id != other.id


@pytest.mark.parametrize("total", [0, -1])
def test_a_task_has_at_least_one_step(total: int) -> None:
    with pytest.raises(ValueError, match="at least one step"):
        task_progress(7, "Import", total=total)
