"""Sockets without a socket, and a database without a database, for tests of what lies between (docs/node.md).

A `Tab` is a real session with its real window, driven as `node/consumer.py` drives it. The `Table` changes under the
test's hand, and its `TableReader` answers when the test lets it.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Set
from typing import Any, TypeVar

from django.db import OperationalError

from apps.realtime.core.actions import Action, CatchUp, Send, Taken
from apps.realtime.core.codes import GapReason
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, Stream, user_stream
from apps.realtime.core.resume import Cursor, Head, Verdict
from apps.realtime.history import PAGE_EVENTS
from apps.realtime.node.history import Page
from apps.realtime.node.shared_feed import Member, SharedFeed
from tests.unit.realtime.core.driver import ALICE, EPOCH, Driven, durable, new

MINE = user_stream(ALICE)
READ_SECS = 0.01

T = TypeVar("T")


async def confirm_all(stream: Stream, members: Collection[Member]) -> Set[Member]:
    """Everybody may have history."""
    return set(members)


class Table:
    """What the database holds of one stream."""

    def __init__(self, head: int = 0, floor: int = 0) -> None:
        self.epoch = EPOCH
        self.floor = floor
        self.rows: list[Event] = []
        self.head = floor
        self.commit(head - floor)

    def commit(self, count: int = 1) -> list[Event]:
        """The next events, numbered and committed."""
        events = [durable(MINE, self.head + step, self.epoch) for step in range(1, count + 1)]
        self.head += count
        self.rows += events
        return events

    def trim(self, floor: int) -> None:
        """Everything up to there is pruned."""
        self.floor = floor
        self.rows = [event for event in self.rows if event.epoch != self.epoch or event.seq > floor]

    def rotate(self, epoch: str) -> None:
        self.epoch, self.head, self.floor = epoch, 0, 0

    def restore(self, head: int) -> None:
        """A backup: the same numbering, and what was later is gone."""
        self.head = head
        self.rows = [event for event in self.rows if event.seq <= head]

    def stored(self, epoch: str, after: int, upto: int) -> list[Event]:
        return [event for event in self.rows if event.epoch == epoch and after < event.seq <= upto]

    def here(self) -> Head:
        return Head(self.epoch, self.head, self.floor)


class TableReader:
    """Answers as `HistoryReader` does, but for its batches.

    Attributes:
        asked: what was asked, oldest first.
        away: whether the database is away.
        may_answer: while it is not set, answers are on their way: they were read, and have not come.
    """

    problem = None

    def __init__(self, table: Table) -> None:
        self.asked: list[str] = []
        self.away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._table = table
        self._waiting = 0

    @property
    def pages(self) -> int:
        """How many pages were read."""
        return self.asked.count("page")

    async def held_up(self) -> None:
        """Wait until an answer is on its way."""
        while not self._waiting:
            await asyncio.sleep(0.001)

    async def head(self, stream: Stream) -> Head:
        return await self._answer("head", self._table.here)

    async def verdict(self, stream: Stream, since: Cursor) -> tuple[Head, int]:
        def read() -> tuple[Head, int]:
            head = self._table.here()
            return head, len(self._table.stored(head.epoch, since.seq, head.head)) if since.epoch == head.epoch else 0

        return await self._answer("verdict", read)

    async def page(self, stream: Stream, epoch: str, after: int) -> Page:
        def read() -> Page:
            events: list[Event] = []
            for event in self._table.stored(epoch, after, after + PAGE_EVENTS):
                if event.seq != after + len(events) + 1:
                    break
                events.append(event)
            return Page(self._table.here(), events)

        return await self._answer("page", read)

    async def _answer(self, what: str, read: Callable[[], T]) -> T:
        self.asked.append(what)
        await asyncio.sleep(READ_SECS / 2)
        if self.away:
            raise OperationalError("the database is away")
        answer = read()
        self._waiting += 1
        await self.may_answer.wait()
        self._waiting -= 1
        await asyncio.sleep(READ_SECS / 2)
        return answer


class Tab:
    """A member of one feed.

    Attributes:
        got: what the client received of the stream: the seq of each durable event, `ephemeral`, and GAP with its reason
            and seq.
    """

    def __init__(self, feed: SharedFeed, *, dialect: str = "v1") -> None:
        self.got: list[Any] = []
        self.driven = Driven(dialect)
        self.session = self.driven.session
        self._feed = feed
        feed.members[self] = None
        self.driven.connect()
        self.driven.token(accept=True)

    def open(self, verdict: Verdict) -> Verdict:
        """AUTH OK, and what follows it."""
        self.driven.open(verdicts={MINE: verdict, ALL: new()})
        self._feed.catch_up(self)
        return verdict

    async def resume(self, since: Cursor | None) -> Verdict:
        return self.open(await self._feed.verdict(since))

    def ack(self) -> None:
        """Everything so far."""
        received = sum(isinstance(one, int) or one == "ephemeral" for one in self.got)
        self.perform(self.driven.say({"id": "ACK", "data": {"n": received}}))

    def leave(self) -> None:
        self.session.disconnected()
        self._feed.remove(self)

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, CatchUp):
                assert action.streams == (MINE,)
                self._feed.catch_up(self)
            else:
                assert isinstance(action, Send)
                frame = json.loads(action.text)
                assert frame["id"] == "GAP"
                self.got.append(("GAP", frame["data"]["reason"], frame["data"]["epoch"], frame["data"]["seq"]))

    # What a feed calls ---------------------------------------------------------------------------

    def deliver(self, event: Event) -> bool:
        written = self.session.deliver(event)
        if written:
            self.got.append("ephemeral")
        return written

    def take(self, event: Event) -> Taken:
        taken = self.session.take(event)
        if taken is Taken.SENT:
            self.got.append(event.seq)
        return taken

    def wants(self, stream: Stream) -> Cursor | None:
        return self.session.wants(stream)

    def gap(self, stream: Stream, head: Head, reason: GapReason) -> bool:
        listens = stream in self.session.streams
        self.perform(self.session.gap(stream, head, reason))
        return listens
