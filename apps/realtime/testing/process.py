"""The publishing of a test: what was committed is numbered and kept, and goes to the tabs that are open
(docs/testing.md)."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from ..brokers.base import Settled
from ..brokers.memory import Exchange
from ..conf import realtime_settings
from ..core.events import Event
from ..core.names import CONTROL, Stream
from ..models import ScheduledEvent
from ..publishing.process import PublishingProcess
from ..publishing.scheduled import fire_due, stored_time
from ..publishing.sequencer import number
from ..publishing.settlement import Place, confirm

# Hooks of this package are told from the project's by the module that made them.
_PACKAGE: Final = __package__.rpartition(".")[0] + "."
# The sequencer's limits are meant for a transaction of its own. They would end that of a test which a debugger stops.
_NO_LIMITS: Final = (
    "SET LOCAL lock_timeout TO DEFAULT; "
    "SET LOCAL statement_timeout TO DEFAULT; "
    "SET LOCAL idle_in_transaction_session_timeout TO DEFAULT"
)


class RecordingPublisher:
    """The in-process broker that remembers.

    Attributes:
        events: what was published, oldest first.
        problem: None: everything arrives.
    """

    problem: str | None = None

    def __init__(self, exchange: Exchange) -> None:
        self.events: list[Event] = []
        self._exchange = exchange
        # By identity, and kept, so that no other one gets its place in memory.
        self._known: dict[int, Event] = {}

    def start(self) -> None:
        """Nothing to connect."""

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        # The same hook may have run twice: `captureOnCommitCallbacks` leaves it where it was.
        if id(event) not in self._known:
            self._known[id(event)] = event
            self.events.append(event)
            self._exchange.route(event)
        if settled is not None:
            settled(event, True)

    def flush(self, timeout_secs: float) -> bool:
        return True

    def close(self, timeout_secs: float) -> None:
        """Nothing to disconnect."""


class CapturingProcess(PublishingProcess):
    """In the place of the site's process while a test captures.

    A `TestCase` rolls its transaction back, so Django never runs the hooks that wait for its commit. `settle` runs ours
    as soon as every block that the test or its views opened is closed. Django has forgotten those of a block that was
    rolled back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recorder = RecordingPublisher(self.exchange)
        self._publisher = self.recorder
        self._waiting: list[Stream] = []
        # The same of hooks.
        self._ran: dict[int, Any] = {}

    @property
    def sent(self) -> list[Event]:
        """What was published, but for what processes tell each other; oldest first."""
        return [event for event in self.recorder.events if event.stream != CONTROL]

    def committed(self, alias: str, streams: Iterable[Stream]) -> None:
        self._waiting += streams

    @property
    def in_block(self) -> bool:
        """Whether the caller is in a transaction that may still be rolled back, on any database."""
        return any(map(_in_block, connections.all(initialized_only=True)))

    def settle(self) -> None:
        """Do what follows a commit.

        Raises:
            RuntimeError: within a transaction, whose end decides what was sent.
            django.db.Error: the rows could not be numbered.
        """
        if self.in_block:
            raise RuntimeError(
                "a transaction.atomic() block is open, and may be rolled back: ask what was sent behind it"
            )
        for connection in connections.all(initialized_only=True):
            for _, hook, *_ in list(connection.run_on_commit):
                self._run(hook)
        streams, self._waiting = self._waiting, []
        while events := number(streams) if streams else []:
            for event in events:
                self.recorder.publish(event)
            confirm(map(Place.of, events))
        if streams:
            _lift_limits(connections[realtime_settings().database])

    def fire_scheduled(self, until: datetime) -> None:
        """What a relay does with the scheduled events up to then, oldest first.

        Raises:
            BadEvent: a time without a time zone.
            django.db.Error: the rows could not be stored.
        """
        rows = ScheduledEvent.objects.using(realtime_settings().database)
        due = rows.filter(failed_at__isnull=True, due_at__lte=stored_time(until)).order_by("due_at", "id")
        for key in list(due.values_list("pk", flat=True)):
            rows.filter(pk=key).update(due_at=Now())
            fire_due()

    def _run(self, hook: Callable[[], object]) -> None:
        if str(hook.__module__).startswith(_PACKAGE) and id(hook) not in self._ran:
            self._ran[id(hook)] = hook
            hook()


def _in_block(connection: BaseDatabaseWrapper) -> bool:
    # Django marks the blocks that a TestCase opens around a test.
    blocks = connection.atomic_blocks
    return connection.in_atomic_block and not (blocks and blocks[-1]._from_testcase)  # type: ignore[attr-defined]


def _lift_limits(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor == "postgresql" and connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute(_NO_LIMITS)
