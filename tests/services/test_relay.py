"""The relay, pruning and rotation on PostgreSQL, beside everybody else who is at the same rows (docs/relay.md)."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.timezone import now
from pytest_django.plugin import DjangoDbBlocker

from apps.realtime import Topic, cancel_scheduled, notify
from apps.realtime.brokers.base import Settled
from apps.realtime.conf import realtime_settings
from apps.realtime.core.events import Event
from apps.realtime.core.names import Stream as Name
from apps.realtime.history import deployment_epoch
from apps.realtime.models import Deployment, ScheduledEvent, StoredEvent, Stream
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.publishing.relay import Relay
from apps.realtime.publishing.retention import Pruner
from apps.realtime.publishing.sequencer import number
from apps.realtime.rotation import rotate_all, rotate_regressed
from ops.services import wait_for
from tests.services.rigs.database import library_database
from tests.services.rigs.threads import Worker

LONG_AGO = timedelta(hours=1)


@pytest.fixture
def alias(database_url: str, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database is a new one on PostgreSQL."""
    with django_db_blocker.unblock(), library_database(database_url) as alias:
        yield alias


@pytest.fixture(params=["postgresql", "sqlite"])
def either(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database is a new one, of each kind, with a project's ordinary settings."""
    if request.param == "postgresql":
        yield request.getfixturevalue("alias")
        return
    with django_db_blocker.unblock(), library_database(f"sqlite:///{tmp_path / 'db.sqlite3'}") as alias:
        call_command("migrate", database=alias, verbosity=0)
        yield alias


class Confirming:
    """A publisher that has a broker of its own: each event is confirmed a moment later, by another thread."""

    problem: str | None = None

    def __init__(self) -> None:
        self.events: list[Event] = []

    def start(self) -> None:
        """Nothing to connect."""

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        assert settled is not None
        self.events.append(event)
        threading.Timer(0.01, settled, [event, True]).start()

    def flush(self, timeout_secs: float) -> bool:
        return True

    def close(self, timeout_secs: float) -> None:
        """Nothing to disconnect."""


def store(alias: str, stream: str, count: int = 1, **fields: Any) -> None:
    StoredEvent.objects.using(alias).bulk_create(
        StoredEvent(stream=stream, mid="m", event_id="x", frame='{"id":"x","data":null}', **fields)
        for _ in range(count)
    )


def store_numbered(alias: str, stream: str, count: int, **fields: Any) -> None:
    Stream.objects.using(alias).create(name=stream, epoch="e1", head=count)
    StoredEvent.objects.using(alias).bulk_create(
        StoredEvent(stream=stream, epoch="e1", seq=seq, mid="m", event_id="x", frame='{"id":"x","data":null}', **fields)
        for seq in range(1, count + 1)
    )


def unconfirmed(alias: str) -> int:
    return StoredEvent.objects.using(alias).filter(confirmed_at=None).count()


# Two relays --------------------------------------------------------------------------------------


def test_two_relays_share_the_work_and_take_no_event_twice(either: str) -> None:
    deployment_epoch()
    for name in range(300):
        store_numbered(either, f"user.{name}", 3)
    for name in range(100):
        store(either, f"topic.{name}", 5, created_at=Now() - LONG_AGO)
    publishers = [Confirming(), Confirming()]
    relays = [Relay(realtime_settings(), publisher) for publisher in publishers]
    workers = [Worker(relay.run) for relay in relays]
    for worker in workers:
        worker.start()
    wait_for(lambda: unconfirmed(either) == 0, 30, "everything is confirmed")
    for relay in relays:
        relay.stop()
    for worker in workers:
        worker.finish()
    published = Counter((event.stream, event.seq) for publisher in publishers for event in publisher.events)
    assert set(published.values()) == {1}
    numbers: dict[str, set[int]] = {}
    for stream, seq in published:
        numbers.setdefault(stream, set()).add(seq)
    # While one of them publishes the newest, the other may publish the one before it.
    assert all(numbers[f"user.{name}"] in ({3}, {2, 3}) for name in range(300))
    assert all(numbers[f"topic.{name}"] == {1, 2, 3, 4, 5} for name in range(100))
    assert all(publisher.events for publisher in publishers)


def test_two_relays_fire_each_scheduled_event_once_beside_those_who_cancel(
    either: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment_epoch()
    process = PublishingProcess()
    monkeypatch.setattr(apps.get_app_config("message_flow"), "publishing", process)
    # Half of them are due already.
    at = [now() + timedelta(seconds=secs) for secs in (-60, 1)]
    handles = [notify(Topic(f"article-{n % 7}"), f"{n}", at=at[n % 2]) for n in range(300)]
    publisher = Confirming()
    process._publisher = publisher
    cancelled: list[int] = []

    def cancel() -> None:
        cancelled.extend(n for n in range(0, 300, 3) if cancel_scheduled(handles[n]))

    relays = [Relay(realtime_settings(), publisher, every_secs=0.1) for _ in range(2)]
    workers = [Worker(relay.run) for relay in relays] + [Worker(cancel)]
    for worker in workers:
        worker.start()
    wait_for(lambda: not ScheduledEvent.objects.using(either).exists(), 30, "all is fired or cancelled")
    for relay in relays:
        relay.stop()
    for worker in workers:
        worker.finish()
    assert process.outbox.flush(30)
    process.outbox.close()
    fired = sorted(int(event_id) for event_id in _events(either).values_list("event_id", flat=True))
    assert fired == sorted(set(range(300)) - set(cancelled))
    assert {event.id for event in publisher.events} == {str(n) for n in fired}
    assert not any(map(cancel_scheduled, handles))


def _events(alias: str) -> QuerySet[StoredEvent]:
    return StoredEvent.objects.using(alias)


def test_a_row_that_somebody_is_writing_is_left_alone_and_holds_nothing_up(alias: str) -> None:
    store_numbered(alias, "user.1", 1)
    store_numbered(alias, "user.2", 1)
    publisher = Confirming()
    with transaction.atomic(using=alias):
        StoredEvent.objects.using(alias).filter(stream="user.1").select_for_update().get()
        relay = Relay(realtime_settings(), publisher)
        with Worker(lambda: relay.run_once(1.0)):
            wait_for(lambda: publisher.events, 10, "the other one is published")
    assert [event.stream for event in publisher.events] == ["user.2"]
    assert Relay(realtime_settings(), publisher).run_once(10) is None
    assert unconfirmed(alias) == 0


# Pruning -----------------------------------------------------------------------------------------


def test_whoever_reads_while_it_trims_and_numbers_finds_all_from_the_floor_to_the_head(alias: str) -> None:
    deployment_epoch()
    names = [Name(f"user.{name}") for name in range(5)]
    conf = replace(realtime_settings(), history_max_events=20)
    pruners = [Pruner(conf), Pruner(conf)]

    def notify() -> None:
        for name in names:
            store(alias, name, 7)
        while number(names):
            pass

    def read() -> None:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            # Head, floor and rows of one moment.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            streams = list(Stream.objects.using(alias).values_list("name", "epoch", "head", "floor"))
            rows = StoredEvent.objects.using(alias).filter(seq__isnull=False)
            seqs = sorted(rows.values_list("stream", "epoch", "seq"))
        expected = [(name, epoch, seq) for name, epoch, head, floor in streams for seq in range(floor + 1, head + 1)]
        assert seqs == sorted(expected)

    tasks = (notify, notify, pruners[0].turn, pruners[1].turn, read, read)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(task, again=True)) for task in tasks]
        wait_for(lambda: min(worker.rounds for worker in workers) >= 30, 60, "enough has happened")
    while pruners[0].turn():
        pass
    floors = Stream.objects.using(alias).values_list("head", "floor")
    assert {head - floor for head, floor in floors} == {20}
    assert min(floor for _, floor in floors) > 100


def test_a_stream_that_is_being_numbered_is_trimmed_later_and_the_others_now(alias: str) -> None:
    for name in ("a", "b", "c"):
        store_numbered(alias, name, 30)
    conf = replace(realtime_settings(), history_max_events=10)
    with transaction.atomic(using=alias):
        Stream.objects.using(alias).filter(name="b").select_for_update().get()
        pruner = Pruner(conf)

        def walk() -> None:
            # A turn ends after half a second, which is not much beside other tests.
            while not pruner.walked:
                pruner.turn()

        with Worker(walk):
            pass
        floors = dict(Stream.objects.using(alias).values_list("name", "floor"))
    assert floors == {"a": 20, "b": 0, "c": 20}
    Pruner(conf).turn()
    assert Stream.objects.using(alias).get(name="b").floor == 20


def test_each_step_goes_by_an_index(alias: str) -> None:
    """On a table where reading it whole takes long."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "INSERT INTO message_flow_storedevent (stream, epoch, seq, mid, event_id, frame, confirmed_at) "
            "SELECT 'user.' || stream, 'e1', seq, 'm', 'x', '{\"id\":\"x\"}', now() "
            "FROM generate_series(1, 2000) AS stream, generate_series(1, 50) AS seq"
        )
        cursor.execute(
            "INSERT INTO message_flow_stream (name, epoch, head, floor) "
            "SELECT 'user.' || stream, 'e1', 50, 0 FROM generate_series(1, 2000) AS stream"
        )
        cursor.execute("ANALYZE message_flow_storedevent, message_flow_stream")
    # Something to do for each step.
    StoredEvent.objects.using(alias).filter(stream__in=[f"user.{name}" for name in range(50)]).update(confirmed_at=None)
    store(alias, "user.1", 3, created_at=Now() - LONG_AGO)
    Stream.objects.using(alias).filter(name="user.2").update(epoch="e2", head=0)
    plans: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
            with connections[alias].connection.cursor() as cursor:
                plans.extend(line for (line,) in cursor.execute("EXPLAIN " + sql, params).fetchall())
        return execute(sql, params, many, context)

    relay = Relay(replace(realtime_settings(), history_max_events=48), Confirming())
    with connections[alias].execute_wrapper(explain):
        relay._turn()
        relay._wait(1)
        relay._turn()
    assert relay.problem is None
    assert Stream.objects.using(alias).filter(floor__gte=2).count() > 10
    assert unconfirmed(alias) == 0
    assert len(plans) > 100
    assert not [line for line in plans if "Seq Scan on message_flow_storedevent" in line], "\n".join(plans)


# Rotation ----------------------------------------------------------------------------------------


def test_a_stream_that_is_being_made_while_all_begin_anew_gets_the_new_epoch(alias: str) -> None:
    """Halted between the statements that make it: the rotation waits, and finds it."""
    deployment_epoch()
    store(alias, "user.1")
    halted, go_on = threading.Event(), threading.Event()

    def halt(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        if sql.startswith('UPDATE "message_flow_deployment"'):
            halted.set()
            assert go_on.wait(20)
        return result

    def make() -> None:
        with connections[alias].execute_wrapper(halt):
            number([Name("user.1")])

    with Worker(make):
        assert halted.wait(20)
        rotation = Worker(rotate_all)
        rotation.start()
        wait_for(lambda: _waiting_for_a_lock(alias), 20, "the rotation waits")
        go_on.set()
        rotation.finish()
    assert Stream.objects.using(alias).get(name="user.1").epoch == deployment_epoch()


def test_all_begin_anew_while_many_are_numbered_and_made(alias: str) -> None:
    deployment_epoch()
    made = Counter({0: 0, 1: 0, 2: 0})

    def notify(worker: int) -> None:
        made[worker] += 1
        names = [Name(f"user.{name}") for name in range(10)]
        names += [Name(f"topic.{worker}-{made[worker]}-{name}") for name in range(3)]
        for name in reversed(names):
            store(alias, name, 2)
        while number(names):
            pass

    with ExitStack() as stack:
        for worker in made:
            stack.enter_context(Worker(partial(notify, worker), again=True))
        for goal in range(1, 11):
            wait_for(lambda: min(made.values()) > goal, 20, "numbering goes on")  # noqa: B023
            epoch, _count = rotate_all()
            # Nothing that was there keeps the old one.
            assert Deployment.objects.using(alias).get().epoch == epoch
            assert not Stream.objects.using(alias).exclude(epoch=epoch).exists()
    streams = Stream.objects.using(alias).values_list("name", "epoch", "head")
    rows = StoredEvent.objects.using(alias).values_list("stream", "epoch", "seq").order_by("stream", "epoch", "seq")
    seqs: dict[tuple[str, str | None], list[int | None]] = {}
    for stream, epoch_, seq in rows:
        seqs.setdefault((stream, epoch_), []).append(seq)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seqs.values())
    assert all(len(seqs.get((name, epoch_), [])) == head for name, epoch_, head in streams)


def test_of_two_nodes_that_see_a_stream_run_back_one_ends_its_numbering(alias: str) -> None:
    deployment_epoch()
    for name in range(20):
        store_numbered(alias, f"user.{name}", 5)
    ended: list[str] = []

    def see() -> None:
        for name in range(40):
            stream = Name(f"user.{name}")
            if rotate_regressed(stream, "e1" if name < 20 else deployment_epoch(), 9):
                ended.append(stream)

    with Worker(see), Worker(see), Worker(see):
        pass
    assert Counter(ended) == Counter({f"user.{name}": 1 for name in range(40)})
    assert Stream.objects.using(alias).filter(head=0).exclude(epoch="e1").count() == 40


def _waiting_for_a_lock(alias: str) -> bool:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
