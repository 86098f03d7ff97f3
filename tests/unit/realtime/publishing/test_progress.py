"""Progress of a long task (docs/publishing.md)."""

import json
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, transaction

from apps.realtime import BadRecipient, task_progress
from apps.realtime.models import StoredEvent
from apps.realtime.publishing import progress as module
from tests.unit.conftest import MakeUser, RecordingPublisher

pytestmark = pytest.mark.django_db(transaction=True)


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


@pytest.fixture
def user(make_user: MakeUser) -> Any:
    """Who watches the task."""
    return make_user()


def steps(publisher: RecordingPublisher) -> list[Any]:
    """The data of what was pushed."""
    assert {event.id for event in publisher.events} <= {"task/PROGRESS"}
    return [json.loads(event.frame)["data"] for event in publisher.events]


def end() -> tuple[str, Any]:
    """The one event that was stored."""
    stored = StoredEvent.objects.get()
    return stored.event_id, json.loads(stored.frame)["data"]


def test_it_tells_the_beginning_the_steps_and_the_end(published: RecordingPublisher, clock: Clock, user: Any) -> None:
    with task_progress(user, "Import", total=3) as task:
        for _ in range(3):
            clock.now += 1
            task.advance()
    state = {"task": task.id, "label": "Import", "total": 3}
    assert steps(published) == [state | {"done": done} for done in (0, 1, 2, 3)]
    assert end() == ("task/DONE", state | {"done": 3})
    assert {event.stream for event in published.events} == {f"user.{user.pk}"}
    assert StoredEvent.objects.get().stream == f"user.{user.pk}"


def test_it_tells_at_most_ten_times_a_second(published: RecordingPublisher, clock: Clock, user: Any) -> None:
    with task_progress(user, "Import", total=1_000) as task:
        for _ in range(1_000):
            clock.now += 0.01
            task.advance()
    ticks = [data["done"] for data in steps(published)]
    assert 90 <= len(ticks) <= 101
    assert ticks == sorted(set(ticks))
    assert end()[1]["done"] == 1_000


def test_a_step_may_be_several_and_never_leads_beyond_the_end(
    published: RecordingPublisher, clock: Clock, user: Any
) -> None:
    with task_progress(user, "Import", total=10) as task:
        for several in (4, 40):
            clock.now += 1
            task.advance(several)
    assert [data["done"] for data in steps(published)] == [0, 4, 10]


def test_done_means_done(published: RecordingPublisher, clock: Clock, user: Any) -> None:
    with task_progress(user, "Import", total=10):
        pass
    event_id, data = end()
    assert (event_id, data["done"]) == ("task/DONE", 10)


def test_a_failure_is_told_without_its_message_and_goes_on(
    published: RecordingPublisher, clock: Clock, user: Any
) -> None:
    def work(task: task_progress) -> None:
        clock.now += 1
        task.advance(3)
        raise ValueError("secret of the shop")

    with pytest.raises(ValueError, match="secret"), task_progress(user, "Import", total=10) as task:
        work(task)
    event_id, data = end()
    assert event_id == "task/FAILED"
    assert data == {"task": task.id, "label": "Import", "done": 3, "total": 10, "error": "ValueError"}
    assert "secret" not in StoredEvent.objects.get().frame


def test_a_transaction_that_is_broken_hides_no_error(
    published: RecordingPublisher, clock: Clock, user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        transaction.set_rollback(True)  # what Django does after an error of the database
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), transaction.atomic(), task_progress(user, "Import", total=10):
        work()
    assert not StoredEvent.objects.exists()
    assert "could not be stored" in caplog.text


def test_without_a_database_a_failure_is_pushed(
    published: RecordingPublisher, clock: Clock, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DatabaseError("gone")

    def work() -> None:
        monkeypatch.setattr(module, "notify", refuse)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), task_progress(user, "Import", total=10):
        work()
    assert [event.id for event in published.events] == ["task/PROGRESS", "task/FAILED"]


def test_a_user_who_is_gone_at_the_end_hides_no_error(
    published: RecordingPublisher, clock: Clock, user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        user.delete()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), task_progress(user.pk, "Import", total=10):
        work()
    assert not StoredEvent.objects.exists()
    assert "could not be stored" in caplog.text


def test_two_tasks_can_be_told_apart(published: RecordingPublisher, clock: Clock, user: Any) -> None:
    with task_progress(user, "a", total=1) as one, task_progress(user, "b", total=1) as other:
        assert one.id != other.id


@pytest.mark.parametrize("total", [0, -1])
def test_a_task_has_at_least_one_step(total: int) -> None:
    with pytest.raises(ValueError, match="at least one step"):
        task_progress(7, "Import", total=total)


def test_who_does_not_exist_is_refused_before_the_work(published: RecordingPublisher) -> None:
    with pytest.raises(BadRecipient), task_progress(987654321, "Import", total=1):
        raise AssertionError("the work must not begin")
    assert published.events == []


async def test_in_async_code_it_is_async_with(published: RecordingPublisher) -> None:
    from django.contrib.auth.models import User

    user = await User.objects.acreate(username="ada")
    with pytest.raises(SynchronousOnlyOperation, match="async with"), task_progress(user, "a", total=1):
        pass
    async with task_progress(user, "Import", total=2) as task:
        task.advance()
    assert (await StoredEvent.objects.aget()).event_id == "task/DONE"
    with pytest.raises(ZeroDivisionError):
        async with task_progress(user, "Import", total=2):
            raise ZeroDivisionError
    assert (await StoredEvent.objects.alatest("id")).event_id == "task/FAILED"
