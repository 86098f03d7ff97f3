"""What follows a commit, in a test (docs/testing.md)."""

import pytest
from django.db import connection, transaction

from apps.realtime import EVERYONE, notify, push
from apps.realtime.core.names import ALL
from apps.realtime.publishing.process import PublishingProcess, publishing_process
from apps.realtime.testing import Captured
from apps.realtime.testing.process import CapturingProcess, RecordingPublisher
from tests.unit.realtime.core.driver import event

pytestmark = pytest.mark.django_db


@pytest.fixture
def capturing(captured_events: Captured) -> CapturingProcess:
    process: PublishingProcess = publishing_process()
    assert isinstance(process, CapturingProcess)
    return process


def test_a_test_s_own_transaction_is_no_block(capturing: CapturingProcess) -> None:
    seen = [capturing.in_block]
    with transaction.atomic():
        seen.append(capturing.in_block)
        with transaction.atomic():
            seen.append(capturing.in_block)
        seen.append(capturing.in_block)
    seen.append(capturing.in_block)
    assert connection.in_atomic_block
    assert seen == [False, True, True, True, False]


def test_hooks_of_others_wait_for_a_commit(capturing: CapturingProcess) -> None:
    ran = []
    transaction.on_commit(lambda: ran.append("the project's"))
    push(EVERYONE, "n")
    capturing.settle()
    assert [one.id for one in capturing.sent] == ["n"]
    assert ran == []


def test_once_settled_it_costs_no_query(
    capturing: CapturingProcess, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    notify(EVERYONE, "n")
    capturing.settle()
    with django_assert_num_queries(0):  # type: ignore[operator]
        capturing.settle()
        push(EVERYONE, "m")
        capturing.settle()
    assert [one.id for one in capturing.sent] == ["n", "m"]


def test_a_hook_that_runs_twice_publishes_once(capturing: CapturingProcess) -> None:
    push(EVERYONE, "n")
    capturing.settle()
    for _, hook, *_ in connection.run_on_commit:
        hook()
    assert [one.id for one in capturing.sent] == ["n"]


def test_the_publisher_tells_the_outcome_and_never_waits(capturing: CapturingProcess) -> None:
    publisher = RecordingPublisher(capturing.exchange)
    outcomes: list[object] = []
    sent = event(ALL, 1)
    publisher.publish(sent, lambda *outcome: outcomes.append(outcome))
    assert outcomes == [(sent, True)]
    assert (publisher.events, publisher.problem, publisher.flush(0)) == ([sent], None, True)
