"""The loop that is run by hand (docs/testing.md)."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from apps.realtime.testing.steps import Steps


@pytest.fixture
def steps() -> Iterator[Steps]:
    steps = Steps()
    yield steps
    steps.end()


async def sleep(secs: float, seen: list[float]) -> None:
    await asyncio.sleep(secs)
    seen.append(secs)


def test_time_passes_as_far_as_it_is_told_to_and_at_once(steps: Steps) -> None:
    seen: list[float] = []
    for secs in (30, 10, 20):
        steps.start(sleep(secs, seen))
    began = time.process_time()
    steps.run(19.9)
    assert seen == [10]
    steps.run(0.1)
    assert seen == [10, 20]
    steps.run(1_000)
    assert seen == [10, 20, 30]
    assert time.process_time() - began < 5


def test_a_run_ends_when_it_is_enough(steps: Steps) -> None:
    seen: list[float] = []
    for secs in (10, 20):
        steps.start(sleep(secs, seen))
    steps.run(1_000, until=lambda: bool(seen))
    assert seen == [10]


@pytest.mark.django_db
def test_questions_are_asked_outside_of_the_loop_in_this_thread(steps: Steps) -> None:
    User.objects.create_user("alice")

    def ask(name: str) -> tuple[str, int]:
        # In a loop Django would refuse.
        return User.objects.get(username=name).username, threading.get_ident()

    async def two() -> list[tuple[str, int]]:
        return list(await asyncio.gather(steps.ask(ask, "alice"), steps.ask(ask, name="alice")))

    assert steps.call(two()) == [("alice", threading.get_ident())] * 2
    assert steps.problem is None


def test_what_a_question_raises_is_the_answer(steps: Steps) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        steps.call(steps.ask(fail))


def test_a_question_that_nobody_waits_for_is_not_asked(steps: Steps) -> None:
    asked = []

    async def give_up() -> None:
        asking = asyncio.ensure_future(steps.ask(lambda: asked.append(1)))
        await asyncio.sleep(0)
        asking.cancel()

    steps.call(give_up())
    steps.run(1)
    assert asked == []


def test_the_end_waits_for_what_still_runs() -> None:
    steps = Steps()
    ended = []

    async def last_words() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(await steps.ask(lambda: "goodbye"))

    steps.start(last_words())
    steps.run()
    steps.end()
    assert ended == ["goodbye"]
