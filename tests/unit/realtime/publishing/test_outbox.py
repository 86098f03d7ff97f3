"""The thread that numbers and publishes what was committed (docs/publishing.md). On a database that is a file."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models.functions import Now
from pytest_django.plugin import DjangoDbBlocker

from apps.realtime import EVERYONE, Topic, notify
from apps.realtime.brokers.base import Settled
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, Stream, topic_stream
from apps.realtime.models import StoredEvent
from apps.realtime.publishing import outbox as module
from apps.realtime.publishing.outbox import Outbox
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.publishing.sequencer import number
from apps.realtime.topics import TopicRegistry
from tests.services.rigs.database import library_database
from tests.unit.conftest import RecordingPublisher

DEADLINE_SECS = 20.0


class Broker(RecordingPublisher):
    """Confirms what the test says, from a thread of its own.

    Attributes:
        answer: the outcome of the next events; None leaves them unanswered.
        closed: whether it was closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answer: bool | None = True
        self.closed = False
        self._unanswered: list[tuple[Event, Settled]] = []

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        super().publish(event)
        assert settled is not None
        self._unanswered.append((event, settled))
        if self.answer is not None:
            threading.Thread(target=self.settle, args=(self.answer,)).start()

    def settle(self, confirmed: bool) -> None:
        while self._unanswered:
            event, settled = self._unanswered.pop(0)
            settled(event, confirmed)

    def close(self, timeout_secs: float) -> None:
        self.closed = True
        self.settle(False)

    @property
    def numbers(self) -> list[tuple[str, int]]:
        return [(event.stream, event.seq) for event in self.events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "db.sqlite3"


@pytest.fixture
def alias(path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database is a file, on Django's ordinary settings."""
    with django_db_blocker.unblock(), library_database(f"sqlite:///{path}") as alias:
        call_command("migrate", "message_flow", database=alias, verbosity=0, interactive=False)
        yield alias


@pytest.fixture
def broker() -> Broker:
    """What the outbox publishes to."""
    return Broker()


@pytest.fixture
def outbox(alias: str, broker: Broker, process: PublishingProcess, topics: TopicRegistry) -> Iterator[Outbox]:
    """The outbox of this process."""
    process._publisher = broker
    yield process.outbox
    process.outbox.close()
    for thread in threading.enumerate():
        if thread.name == "message-flow-outbox":
            thread.join(DEADLINE_SECS)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def rows(alias: str, **conditions: object) -> int:
    return StoredEvent.objects.using(alias).filter(**conditions).count()


def opened(path: Path) -> int:
    """How often this process has the file open."""
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(link) and os.path.realpath(link) == str(path) for link in links)


def test_what_was_committed_is_numbered_published_and_marked(alias: str, outbox: Outbox, broker: Broker) -> None:
    notify(EVERYONE, "a")
    with transaction.atomic(using=alias):
        notify([EVERYONE, Topic("news")], "b")
        notify(EVERYONE, "c")
    assert outbox.flush(DEADLINE_SECS)
    assert sorted(broker.numbers) == [("all", 1), ("all", 2), ("all", 3), ("topic.news", 1)]
    assert [seq for stream, seq in broker.numbers if stream == "all"] == [1, 2, 3]
    assert rows(alias, confirmed_at__lte=Now()) == 4


def test_nothing_starts_before_the_first_event(outbox: Outbox) -> None:
    assert outbox._worker is None
    assert outbox.flush(0)


def test_what_the_broker_did_not_take_is_released(alias: str, outbox: Outbox, broker: Broker) -> None:
    broker.answer = False
    notify(EVERYONE, "a")
    assert outbox.flush(DEADLINE_SECS)
    assert rows(alias, confirmed_at=None, seq=1, leased_until__lte=Now()) == 1


def test_numbering_goes_on_while_the_broker_does_not_answer(alias: str, outbox: Outbox, broker: Broker) -> None:
    broker.answer = None
    notify(EVERYONE, "a")
    until(lambda: rows(alias, seq=1), "the first is numbered")
    notify(EVERYONE, "b")
    until(lambda: rows(alias, seq=2), "the second is numbered")
    assert not outbox.flush(0)
    assert rows(alias, confirmed_at=None, leased_until__gt=Now()) == 2
    broker.settle(True)
    assert outbox.flush(DEADLINE_SECS)
    assert rows(alias, confirmed_at__isnull=False) == 2


def test_more_than_one_batch_is_taken_whole(
    alias: str, outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.realtime.publishing.sequencer.ROWS_MAX", 3)
    with transaction.atomic(using=alias):
        for number in range(10):
            notify([EVERYONE, Topic("news")], f"event/{number}")
    assert outbox.flush(DEADLINE_SECS)
    for stream in (ALL, topic_stream("news")):
        assert [seq for name, seq in broker.numbers if name == stream] == list(range(1, 11))


def test_a_long_backlog_of_one_stream_holds_up_no_other(
    alias: str, outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.realtime.publishing.sequencer.ROWS_MAX", 3)
    with transaction.atomic(using=alias):
        for _ in range(10):
            notify(EVERYONE, "x")
        notify(Topic("news"), "y")
    assert outbox.flush(DEADLINE_SECS)
    backlog = [("all", seq) for seq in range(1, 11)]
    assert broker.numbers == [*backlog[:3], ("topic.news", 1), *backlog[3:]]


def test_many_threads_at_once_lose_nothing(alias: str, outbox: Outbox, broker: Broker) -> None:
    """Each wake-up may meet any moment of the thread's round."""

    def notify_often() -> None:
        for _ in range(25):
            notify(EVERYONE, "x")
        connections[alias].close()

    threads = [threading.Thread(target=notify_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outbox.flush(DEADLINE_SECS)
    assert broker.numbers == [("all", seq) for seq in range(1, 101)]
    assert rows(alias, confirmed_at=None) == 0


def test_waking_it_costs_microseconds(outbox: Outbox) -> None:
    outbox.wake([ALL])
    before = time.perf_counter()
    for _ in range(1_000):
        outbox.wake([ALL])
    assert (time.perf_counter() - before) / 1_000 < 0.001


def test_an_idle_outbox_has_no_connection(
    path: Path, alias: str, outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test run may drop its database, also while events wait for the broker."""
    monkeypatch.setattr(module, "_IDLE_SECS", 0.05)
    broker.answer = None
    notify(EVERYONE, "x")
    until(lambda: broker.events, "it is published")
    connections[alias].close()
    until(lambda: opened(path) == 0, "the file is closed")
    broker.settle(True)
    assert outbox.flush(DEADLINE_SECS)
    assert rows(alias, confirmed_at=None) == 0


def test_a_database_that_is_locked_is_waited_for(
    path: Path, alias: str, outbox: Outbox, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, module.logger.name)
    connections.settings[alias]["OPTIONS"] = {"timeout": 0.05}
    notify(EVERYONE, "x")
    assert outbox.flush(DEADLINE_SECS)
    notify(EVERYONE, "y")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=DEADLINE_SECS)) as other:
        other.execute("BEGIN EXCLUSIVE")
        outbox.wake([ALL])
        until(lambda: "database is locked" in caplog.text, "it is told")
        outbox.wake([ALL])
        assert not outbox.flush(0.5)
        other.execute("ROLLBACK")
    assert outbox.flush(DEADLINE_SECS)
    assert rows(alias, confirmed_at=None) == 0
    assert caplog.text.count("Committed events wait") == 1
    assert caplog.text.count("has its database again") == 1


def test_after_a_while_it_leaves_the_rows_to_the_relay(
    path: Path, alias: str, outbox: Outbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GIVE_UP_SECS", 0.3)
    connections.settings[alias]["OPTIONS"] = {"timeout": 0.05}
    with closing(sqlite3.connect(path, isolation_level=None, timeout=DEADLINE_SECS)) as other:
        other.execute("BEGIN EXCLUSIVE")
        outbox.wake([ALL])
        until(lambda: "leaves what waits to the relay" in caplog.text, "it gives up")
        assert outbox.flush(DEADLINE_SECS)
        other.execute("ROLLBACK")
    # And it goes on with what comes.
    notify(EVERYONE, "x")
    assert outbox.flush(DEADLINE_SECS)
    assert rows(alias, confirmed_at=None) == 0


class HeldNumbering:
    """`number` that stays in a transaction until it is let go."""

    def __init__(self, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._alias = alias
        self.inside = threading.Event()
        self.go_on = threading.Event()
        monkeypatch.setattr(module, "number", self)

    def __call__(self, streams: list[Stream]) -> list[Event]:
        with transaction.atomic(using=self._alias):
            StoredEvent.objects.using(self._alias).filter(id=0).update(mid="")
            self.inside.set()
            assert self.go_on.wait(DEADLINE_SECS)
        return number(streams)


def opened_in_a_child(path: Path) -> int:
    child = os.fork()
    if child == 0:
        os._exit(opened(path))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# What Python says from 3.12 on is what this is about.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_copies_no_connection(
    path: Path, alias: str, outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldNumbering(alias, monkeypatch)
    notify(EVERYONE, "x")
    connections[alias].close()
    assert held.inside.wait(DEADLINE_SECS)
    threading.Timer(0.1, held.go_on.set).start()
    assert opened_in_a_child(path) == 0
    notify(EVERYONE, "y")
    assert outbox.flush(DEADLINE_SECS)
    assert broker.numbers == [("all", 1), ("all", 2)]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_waits_for_no_database_that_stands_still(
    path: Path,
    alias: str,
    outbox: Outbox,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "_FORK_SECS", 0.05)
    held = HeldNumbering(alias, monkeypatch)
    notify(EVERYONE, "x")
    assert held.inside.wait(DEADLINE_SECS)
    assert opened_in_a_child(path) > 0
    assert "forks while the outbox is connected" in caplog.text
    held.go_on.set()
    assert outbox.flush(DEADLINE_SECS)
    assert broker.numbers == [("all", 1)]


def test_at_the_exit_it_finishes(alias: str, outbox: Outbox, broker: Broker) -> None:
    for _ in range(20):
        notify(EVERYONE, "x")
    outbox.close()
    assert rows(alias, confirmed_at=None) == 0
    assert not broker.closed  # it closes by itself, and may have ephemeral events


def test_at_the_exit_what_is_unconfirmed_is_released_within_two_seconds(
    alias: str, outbox: Outbox, broker: Broker
) -> None:
    broker.answer = None
    for _ in range(20):
        notify(EVERYONE, "x")
    before = time.monotonic()
    outbox.close()
    assert time.monotonic() - before < 2.5
    # Closed first, so that nothing is sent after it was released.
    assert broker.closed
    assert rows(alias, confirmed_at=None, seq__isnull=False, leased_until__lte=Now()) == 20


def test_an_outcome_that_comes_twice_or_too_late_is_no_news(alias: str, outbox: Outbox, broker: Broker) -> None:
    broker.answer = None
    notify(EVERYONE, "x")
    until(lambda: broker.events, "it is published")
    [(event, settled)] = broker._unanswered
    settled(event, True)
    assert outbox.flush(DEADLINE_SECS)
    settled(event, False)
    assert outbox.flush(0)
    assert rows(alias, confirmed_at=None) == 0
