"""Several sequencers at once, halted wherever one can stand, on both databases (docs/history.md)."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import Error, connections, transaction
from psycopg import IsolationLevel
from pytest_django.plugin import DjangoDbBlocker

from apps.realtime import EVERYONE, notify
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from apps.realtime.history import deployment_epoch
from apps.realtime.models import StoredEvent
from apps.realtime.models import Stream as StreamRow
from apps.realtime.publishing import sequencer as module
from apps.realtime.publishing.sequencer import number
from ops.services import wait_for
from tests.services.rigs.database import library_database
from tests.services.rigs.threads import Worker

# Longer than any step of a sequencer that nothing holds up, and short enough for a hundred of them.
BLOCKED_SECS = 0.1
DEADLINE_SECS = 30.0


@pytest.fixture
def postgresql(database_url: str, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database is a new one on PostgreSQL."""
    with django_db_blocker.unblock(), library_database(database_url) as alias:
        deployment_epoch()
        yield alias


@pytest.fixture
def sqlite(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database is a file, on Django's ordinary settings: DEFERRED transactions, a timeout of 5 s."""
    with django_db_blocker.unblock(), library_database(f"sqlite:///{tmp_path}/db.sqlite3") as alias:
        call_command("migrate", "message_flow", database=alias, verbosity=0, interactive=False)
        deployment_epoch()
        yield alias


@pytest.fixture(params=["postgresql", "sqlite"])
def alias(request: pytest.FixtureRequest) -> str:
    """Each of the two in turn."""
    return str(request.getfixturevalue(request.param))


def store(alias: str, *streams: Stream, rows: int = 1) -> None:
    with transaction.atomic(using=alias):
        for stream in streams:
            StoredEvent.objects.using(alias).bulk_create(
                StoredEvent(stream=stream, mid="m", event_id="x", frame='{"id":"x","data":null}') for _ in range(rows)
            )


def check(alias: str, *, expected: int, events: list[Event] | None = None) -> None:
    """Every row has a number, contiguous in its stream up to the head; each was returned once."""
    rows = StoredEvent.objects.using(alias).order_by("stream", "seq").values_list("stream", "epoch", "seq")
    heads = {
        name: (epoch, head) for name, epoch, head in StreamRow.objects.using(alias).values_list("name", "epoch", "head")
    }
    seqs: dict[str, list[int | None]] = {}
    for stream, epoch, seq in rows:
        assert epoch == heads[stream][0]
        seqs.setdefault(stream, []).append(seq)
    assert sum(map(len, seqs.values())) == expected
    for stream, given in seqs.items():
        assert given == list(range(1, heads[stream][1] + 1)), stream
    if events is not None:
        assert sorted((event.stream, event.seq) for event in events) == [(stream, seq) for stream, _, seq in rows]


# Halted at each statement ------------------------------------------------------------------------


class Sequencer:
    """Numbers in a thread of its own, and stands still before its statement `halt_at`, counting commits as one.

    Attributes:
        events: what it returned.
        steps: the statements that it came to.
    """

    def __init__(self, alias: str, streams: list[Stream], halt_at: int | None = None) -> None:
        self.events: list[Event] = []
        self.steps = 0
        self._alias = alias
        self._streams = streams
        self._halt_at = halt_at
        self._quiet = threading.Event()
        self._done = threading.Event()
        self._go_on = threading.Event()
        self._worker = Worker(self._number)

    def start(self, within_secs: float = DEADLINE_SECS) -> None:
        """Run until it halts or ends; with less time, until it may be waiting for somebody else."""
        self._worker.start()
        self._quiet.wait(within_secs)

    def go_on(self) -> None:
        """Let it run until it ends or waits for somebody else."""
        self._go_on.set()
        self._done.wait(BLOCKED_SECS)

    def finish(self) -> None:
        """Let it run to its end."""
        self._go_on.set()
        self._worker.finish()

    def _number(self) -> None:
        connection = connections[self._alias]
        commit = connection._commit  # type: ignore[attr-defined]

        def halt(execute: Callable[..., Any], *arguments: Any) -> Any:
            self._step()
            return execute(*arguments)

        def halt_and_commit() -> None:
            self._step()
            commit()

        connection._commit = halt_and_commit  # type: ignore[attr-defined]
        with connection.execute_wrapper(halt):
            while events := number(self._streams):
                self.events += events
        self._quiet.set()
        self._done.set()

    def _step(self) -> None:
        if self.steps == self._halt_at:
            self._quiet.set()
            assert self._go_on.wait(DEADLINE_SECS)
        self.steps += 1


@pytest.mark.parametrize("new", [True, False], ids=["new streams", "known streams"])
def test_two_sequencers_halted_at_each_statement_in_turn(alias: str, new: bool) -> None:
    names = (topic_stream(f"t{number}") for number in count())

    def streams() -> list[Stream]:
        made = [next(names), next(names)]
        if not new:
            store(alias, *made)
            assert len(number(made)) == 2
        store(alias, *made, rows=2)
        return made

    alone = Sequencer(alias, streams())
    alone.start()
    alone.finish()
    # A look, (the making of the streams,) the lock, the numbering, the head, a commit, and a look that finds nothing.
    assert alone.steps >= 6
    rows = 4 if new else 6
    expected = rows
    check(alias, expected=expected)
    for first_at in range(alone.steps):
        for second_at in (None, alone.steps // 2, alone.steps - 2):
            both = streams()
            first, second = Sequencer(alias, both, first_at), Sequencer(alias, both[::-1], second_at)
            first.start()
            if first_at % 2 and connections[alias].vendor == "postgresql":
                store(alias, *both)  # more comes in while it stands; SQLite has one writer at a time
                expected += 2
            second.start(BLOCKED_SECS)
            first.go_on()
            second.finish()
            first.finish()
            expected += rows
            events = first.events + second.events
            assert len({(event.stream, event.seq) for event in events}) == len(events)
    while number([Stream(name) for name in StreamRow.objects.using(alias).values_list("name", flat=True)]):
        pass
    check(alias, expected=expected)


@pytest.mark.parametrize(
    "isolation", [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]
)
def test_many_sequencers_beside_many_transactions(postgresql: str, isolation: IsolationLevel) -> None:
    """Whatever isolation level the project has chosen."""
    connections.settings[postgresql]["OPTIONS"] = {"isolation_level": isolation}
    connections[postgresql].close()
    del connections[postgresql]
    streams = [user_stream(str(key)) for key in range(6)]
    events: list[Event] = []

    def sequence(turn: int) -> None:
        mine = streams[turn:] + streams[:turn]
        while found := number(mine[:: -1 if turn % 2 else 1]):
            events.extend(found)

    with ExitStack() as stack:
        sequencers = [stack.enter_context(Worker(lambda turn=turn: sequence(turn), again=True)) for turn in range(3)]  # type: ignore[misc]
        writers = [Worker(lambda: store(postgresql, *streams, rows=3), again=True) for _ in range(2)]
        with writers[0], writers[1]:
            wait_for(lambda: min(worker.rounds for worker in sequencers) >= 20, 60, "enough has happened")
    while found := number(streams):
        events += found
    check(postgresql, expected=sum(writer.rounds for writer in writers) * 18, events=events)


def test_many_sequencers_in_a_file(sqlite: str) -> None:
    streams = [user_stream(str(key)) for key in range(6)]
    events: list[Event] = []

    def work() -> None:
        store(sqlite, *streams, rows=2)
        while found := number(streams):
            events.extend(found)

    workers = [Worker(work, again=True) for _ in range(3)]
    with workers[0], workers[1], workers[2]:
        wait_for(lambda: min(worker.rounds for worker in workers) >= 5, 60, "enough has happened")
    check(sqlite, expected=sum(worker.rounds for worker in workers) * 12, events=events)


# Transactions of the project ---------------------------------------------------------------------


class Person:
    """A user, as `notify` sees one."""

    def __init__(self, pk: int) -> None:
        self.pk = pk


@pytest.mark.parametrize("known", [False, True], ids=["users without a stream", "users with one"])
def test_transactions_that_notify_the_same_users_in_opposite_order_do_not_wait_for_each_other(
    postgresql: str, known: bool
) -> None:
    alice, bob = Person(1), Person(2)
    streams = [user_stream("1"), user_stream("2")]
    if known:
        store(postgresql, *streams)
        number(streams)
    first_done, second_done = threading.Event(), threading.Event()

    def other_order() -> None:
        with transaction.atomic(using=postgresql):
            notify(bob, "x")
            assert first_done.wait(DEADLINE_SECS)
            notify(alice, "x")
            second_done.set()

    with Worker(other_order), transaction.atomic(using=postgresql):
        notify(alice, "x")
        first_done.set()
        # It goes on to the end while this transaction is open.
        assert second_done.wait(DEADLINE_SECS)
        notify(bob, "x")
    while number(streams):
        pass
    check(postgresql, expected=6 if known else 4)


def test_a_transaction_that_stays_open_delays_nobody(postgresql: str) -> None:
    with transaction.atomic(using=postgresql):
        notify(EVERYONE, "slow")
        with Worker(lambda: store(postgresql, ALL)):
            pass
        found: list[Event] = []
        with Worker(lambda: found.extend(number([ALL]))):
            pass
        assert [(event.id, event.seq) for event in found] == [("x", 1)]
    assert [(event.id, event.seq) for event in number([ALL])] == [("slow", 2)]


# A sequencer that stands still -------------------------------------------------------------------


def test_a_numbering_that_stands_still_is_ended(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process was stopped: the others wait for no longer than the limit, and it gets an error when it goes on."""
    monkeypatch.setattr(module, "_LIMITS", module._LIMITS.replace("20s", "300ms"))
    store(postgresql, ALL, rows=2)
    number([ALL])
    store(postgresql, ALL, rows=2)
    stuck = Sequencer(postgresql, [ALL], halt_at=5)  # before it commits
    stuck.start()
    assert stuck.steps == 5
    found: list[Event] = []
    with Worker(lambda: found.extend(number([ALL]))):
        pass
    assert [event.seq for event in found] == [3, 4]
    with pytest.raises(Error):
        stuck.finish()
    assert stuck.events == []
    check(postgresql, expected=4)


def test_a_sequencer_that_is_killed_leaves_no_lock_and_no_number(postgresql: str) -> None:
    """At each statement: another one finds the rows at once."""
    names = (topic_stream(f"k{number}") for number in count())
    url = connections.settings[postgresql]
    alone = Sequencer(postgresql, [_with_rows(postgresql, next(names))])
    alone.start()
    alone.finish()
    for halt_at in range(alone.steps):
        name = _with_rows(postgresql, next(names))
        child = os.fork()
        if child == 0:
            _die_at(url, postgresql, name, halt_at)
        os.waitpid(child, 0)
        while number([name]):
            pass
    check(postgresql, expected=2 * (alone.steps + 1))


def _with_rows(alias: str, stream: Stream) -> Stream:
    store(alias, stream, rows=2)
    return stream


def _die_at(settings: Any, alias: str, stream: Stream, halt_at: int) -> None:
    """In a child: number with a connection of its own and die without a word before that statement."""
    steps = count()

    def die(execute: Callable[..., Any], *arguments: Any) -> Any:
        if next(steps) == halt_at:
            os._exit(1)
        return execute(*arguments)

    try:
        # The parent's connection is the parent's.
        connections[alias].connection = None
        commit = connections[alias]._commit  # type: ignore[attr-defined]
        connections[alias]._commit = lambda: die(lambda: commit())  # type: ignore[attr-defined]
        with connections[alias].execute_wrapper(die):
            number([stream])
    finally:
        os._exit(1)
