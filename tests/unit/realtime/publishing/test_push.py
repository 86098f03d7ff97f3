"""`push` in and out of transactions, in sync and async code (docs/publishing.md)."""

import asyncio
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from apps.realtime import EVERYONE, BadEvent, BadRecipient, Topic, UnknownTopic, push
from apps.realtime.brokers.base import Settled
from apps.realtime.core.events import Event
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.topics import TopicRegistry
from tests.unit.conftest import RecordingPublisher


def ids(publisher: RecordingPublisher) -> list[str]:
    return [event.id for event in publisher.events]


def push_and_fail(event_id: str) -> None:
    push(7, event_id)
    raise ZeroDivisionError


def test_outside_a_transaction_it_leaves_at_once_and_touches_no_database(published: RecordingPublisher) -> None:
    # Without the mark django_db any use of the database is an error.
    push(7, "order/PAID", {"order": 5})
    [event] = published.events
    frame = json.loads(event.frame)
    assert (frame["id"], frame["data"], frame["stream"]) == ("order/PAID", {"order": 5}, "user.7")
    assert (event.stream, event.mid) == ("user.7", frame["mid"])
    assert abs(frame["ts"] - time.time()) < 60


def test_each_recipient_gets_an_event_of_its_own(published: RecordingPublisher, topics: TopicRegistry) -> None:
    push([7, Topic("news"), EVERYONE], "x")
    assert [event.stream for event in published.events] == ["user.7", "topic.news", "all"]
    assert len({event.mid for event in published.events}) == 3


def test_bad_input_fails_at_the_call_and_nothing_leaves(published: RecordingPublisher, topics: TopicRegistry) -> None:
    bad: list[tuple[type[Exception], Any, Any, Any]] = [
        (BadEvent, 7, "AUTH OK", None),
        (BadEvent, 7, "", None),
        (BadEvent, 7, "x", object()),
        (BadEvent, [7, 8], "x", float("nan")),
        (BadEvent, 7, "x", "y" * (256 * 1024)),
        (BadRecipient, [7, None], "x", None),
        (UnknownTopic, [7, Topic("nope")], "x", None),
    ]
    for kind, to, event_id, data in bad:
        with pytest.raises(kind):
            push(to, event_id, data)
    assert published.events == []


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_it_leaves_after_the_commit(published: RecordingPublisher) -> None:
    with transaction.atomic():
        push(7, "first")
        with transaction.atomic():
            push(7, "second")
        assert published.events == []
    assert ids(published) == ["first", "second"]


@pytest.mark.django_db(transaction=True)
def test_after_a_rollback_it_does_not_leave(published: RecordingPublisher) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        push_and_fail("x")
    assert published.events == []


@pytest.mark.django_db(transaction=True)
def test_what_an_inner_rollback_takes_back_does_not_leave(published: RecordingPublisher) -> None:
    with transaction.atomic():
        push(7, "kept")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            push_and_fail("lost")
    assert ids(published) == ["kept"]


@pytest.mark.django_db(transaction=True)
def test_the_data_is_that_of_the_call(published: RecordingPublisher) -> None:
    data = {"state": "new"}
    with transaction.atomic():
        push(7, "x", data)
        data["state"] = "changed"
        with pytest.raises(BadEvent):
            push(7, "x", object())
    assert json.loads(published.events[0].frame)["data"] == {"state": "new"}


class _Broken(RecordingPublisher):
    def publish(self, event: Event, settled: Settled | None = None) -> None:
        raise RuntimeError("this publisher is broken")


@pytest.mark.django_db(transaction=True)
def test_a_failure_after_the_commit_breaks_no_other_hook(
    process: PublishingProcess, caplog: pytest.LogCaptureFixture
) -> None:
    process._publisher = _Broken()
    seen = []
    with caplog.at_level(logging.ERROR), transaction.atomic():
        push(7, "x")
        transaction.on_commit(lambda: seen.append("other hook"))
    assert seen == ["other hook"]
    assert "this publisher is broken" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_another_database_does_not_hold_it_back(
    published: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.realtime.publishing import push as module

    class Other:
        in_atomic_block = False

    monkeypatch.setattr(module, "connections", {"default": connection, "other": Other()})
    with transaction.atomic():
        push(7, "default")
        push(7, "other", using="other")
        assert ids(published) == ["other"]
    assert ids(published) == ["other", "default"]


async def test_in_async_code_it_is_the_same_call_and_opens_no_connection(published: RecordingPublisher) -> None:
    push(7, "x")
    await asyncio.to_thread(push, 8, "y")
    assert ids(published) == ["x", "y"]


def test_many_threads_may_push(process: PublishingProcess, published: RecordingPublisher) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(400):
            pool.submit(push, 7, "x")
    assert len(published.events) == 400


@pytest.mark.usefixtures("published_by_class")
class TestInsideDjangosTestCase(TestCase):
    """A TestCase never commits: `captureOnCommitCallbacks` shows what would leave."""

    published: RecordingPublisher

    def test_it_waits_for_a_commit_that_does_not_come(self) -> None:
        push(7, "x")
        assert self.published.events == []

    def test_it_is_captured(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            push(7, "x")
        assert len(callbacks) == 1
        assert ids(self.published) == ["x"]


@pytest.mark.usefixtures("published_by_class")
class TestInsideATransactionTestCase(TransactionTestCase):
    """Here it commits."""

    published: RecordingPublisher

    def test_it_leaves(self) -> None:
        with transaction.atomic():
            push(7, "x")
        assert ids(self.published) == ["x"]


@pytest.fixture
def published_by_class(request: pytest.FixtureRequest, published: RecordingPublisher) -> None:
    """Hands the publisher to a test class of Django's."""
    request.cls.published = published
