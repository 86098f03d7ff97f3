"""One stream of a node with the sockets that listen to it, and how each of them gets to its head (docs/node.md).

A session takes a durable event only as the next one of its position. Whoever cannot, because an event was lost or came
late, its window was full or it has just come back, is lagging: it is offered what the feed still has, and otherwise
what the database holds. The database is asked once for all sessions that stand at the same place, and only for those
that may still hear the stream.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Set
from typing import Final, Protocol

from django.db import Error as DatabaseError
from prometheus_client import Counter

from .. import metrics
from ..core.actions import Taken
from ..core.cache import EventCache
from ..core.codes import GapReason
from ..core.events import Event
from ..core.feed import Arrival, Feed, Observation
from ..core.names import Stream
from ..core.resume import SEQ_MAX, Cursor, Head, Verdict, judge
from .history import HistoryReader, Page

logger = logging.getLogger(__name__)

# protocol.md, "Resume": an event that overtook another one on its way is followed by it within a few milliseconds.
HOLE_SECS: Final = 0.05
# Between two tries to read what is missing while the database is away.
RETRY_SECS: Final = 1.0

_LIVE: Final = metrics.DELIVERED.labels("live")
_MEMORY: Final = metrics.DELIVERED.labels("memory")
_DATABASE: Final = metrics.DELIVERED.labels("database")

# Ends a numbering in the database, if it still stands below the position that a node has seen.
Rotate = Callable[[Stream, Cursor], Awaitable[None]]


class Member(Protocol):
    """One socket of the node."""

    def deliver(self, event: Event) -> bool:
        """Take an ephemeral event; True when it was written."""

    def take(self, event: Event) -> Taken:
        """Take a durable event if it is the next one."""

    def wants(self, stream: Stream) -> Cursor | None:
        """The last durable event it has; None while it can take none."""

    def gap(self, stream: Stream, head: Head, reason: GapReason) -> bool:
        """Go on behind `head`, and say so; False where it does not listen, or not yet."""


# Those of the members for which history of the stream may be read now. Who has lost its right has left, and who is
# missing for another reason may be asked for again.
Confirm = Callable[[Stream, Collection[Member]], Awaitable[Set[Member]]]


class SharedFeed:
    """What the sessions of one stream share.

    Attributes:
        members: who listens; a dict as an ordered set: who came first is served first.
    """

    def __init__(
        self,
        stream: Stream,
        cache: EventCache,
        reader: HistoryReader,
        rotate: Rotate,
        on_rotated: Callable[[], None],
        confirm: Confirm,
        *,
        replay_max: int,
    ) -> None:
        self.members: dict[Member, None] = {}
        self._stream = stream
        self._feed = Feed(stream, cache)
        self._reader = reader
        self._rotate = rotate
        self._on_rotated = on_rotated
        self._confirm = confirm
        self._replay_max = replay_max
        # Members that miss an event and have room for it.
        self._lagging: dict[Member, None] = {}
        # True while the feed knows of events that did not come from the broker.
        self._head_unseen = False
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        # True from a number that two events have to the end of the numbering.
        self._given_twice = False
        # True when something came during a check that this check may have been too early for.
        self._check_again = False

    @property
    def position(self) -> Cursor:
        """The numbering and the highest seq that exists for sure."""
        return self._feed.position

    def remove(self, member: Member) -> None:
        """It gets nothing more of this stream."""
        self.members.pop(member, None)
        self._lagging.pop(member, None)

    def close(self) -> None:
        """Nobody listens any more."""
        self._stop_timer()
        for task in (self._reading, self._checking):
            if task is not None:
                task.cancel()

    # Events --------------------------------------------------------------------------------------

    def deliver(self, event: Event) -> int:
        """An event came from the broker; returns to how many members it was written at once.

        Nothing is awaited: order is kept.
        """
        sent = 0
        if not event.seq:
            sent = sum(member.deliver(event) for member in list(self.members))
            _LIVE.inc(sent)
            return sent
        arrival = self._feed.arrived(event)
        if arrival is Arrival.OTHER_EPOCH:
            self._begin_check()
        elif arrival is Arrival.GIVEN_TWICE:
            self._given_twice = True
            self._begin_check()
        elif arrival is Arrival.NEW:
            sent = self._offer(event)
        return sent

    def _offer(self, event: Event) -> int:
        sent = 0
        # A copy: a member that turns out to be too slow leaves while we are at it.
        for member in list(self.members):
            taken = member.take(event)
            if taken is Taken.SENT:
                sent += 1
            elif taken is Taken.BEHIND:
                self._lagging[member] = None
        _LIVE.inc(sent)
        if self._lagging:
            # Who waited for this event gets at once what had overtaken it.
            self._serve_from_memory(_LIVE)
            self._await_fillers()
        return sent

    def catch_up(self, member: Member) -> None:
        """Bring a member to the head: it has just come, or has room again."""
        if member in self.members and self._needs_history(member):
            self._lagging[member] = None
            self._begin_reading()

    # Heads ---------------------------------------------------------------------------------------

    async def verdict(self, since: Cursor | None, *, keeps_history: bool = True) -> Verdict:
        """Whether a client can go on where it was; to be called when the stream's feed is open.

        Raises:
            django.db.Error, TimeoutError: no verdict is possible.
        """
        while True:
            began_at = self._feed.position
            if since is None:
                head, stored = await self._reader.head(self._stream), 0
            else:
                head, stored = await self._reader.verdict(self._stream, since)
            self.observe(head, began_at)
            if self._checking is not None:
                await asyncio.shield(self._checking)
            elif head.epoch == self._feed.position.epoch:
                return judge(since, head, stored if keeps_history else 0, self._replay_max)

    def observe(self, head: Head, since: Cursor) -> None:
        """A head was read; `since` is this feed's position when the reading began."""
        seen = self._feed.observed(head, since)
        if seen is Observation.AHEAD:
            self._head_unseen = True
            self._await_fillers()
        elif seen is Observation.ROTATED:
            self._rotated(head)
        elif seen is Observation.RAN_BACK:
            self._begin_check()

    def _rotated(self, head: Head) -> None:
        self._on_rotated()
        self._lagging.clear()
        for member in list(self.members):
            self._break(member, head, GapReason.EPOCH)

    def _break(self, member: Member, head: Head, reason: GapReason) -> None:
        if member.gap(self._stream, head, reason):
            metrics.GAPS.labels(reason).inc()

    def _begin_check(self) -> None:
        if self._checking is None:
            self._checking = asyncio.create_task(self._check())
            self._checking.add_done_callback(self._checked)
        else:
            self._check_again = True

    def _checked(self, task: asyncio.Task[None]) -> None:
        self._checking = None
        if self._check_again and not task.cancelled():
            self._check_again = False
            self._begin_check()

    async def _check(self) -> None:
        """Ask the database which numbering holds, and end one that has run back: a backup was restored."""
        began_at = self._feed.position
        try:
            head = await self._reader.head(self._stream)
            seen = self._feed.observed(head, began_at)
            given_twice, self._given_twice = self._given_twice and seen is not Observation.ROTATED, False
            if seen is Observation.RAN_BACK or given_twice:
                # Wherever the head stands by now.
                await self._rotate(self._stream, Cursor(began_at.epoch, SEQ_MAX) if given_twice else began_at)
                head = await self._reader.head(self._stream)
                seen = self._feed.observed(head, began_at)
        except (DatabaseError, TimeoutError) as error:
            # The next event or check of heads asks again.
            logger.warning("The numbering of %s could not be checked: %s", self._stream, type(error).__name__)
            return
        if seen is Observation.ROTATED:
            self._rotated(head)
        elif seen is Observation.AHEAD:
            self._head_unseen = True
            self._await_fillers()

    # Catching up ---------------------------------------------------------------------------------

    def _needs_history(self, member: Member, written: Counter = _MEMORY) -> bool:
        """Offer what the feed still has; whether the member's next event exists and is not among it."""
        while True:
            at = member.wants(self._stream)
            here = self._feed.position
            if at is None:
                return False
            if at.epoch != here.epoch:
                # The numbering ended between the verdict and AUTH OK.
                self._break(member, Head(*here, 0), GapReason.EPOCH)
                return False
            if at.seq >= here.seq:
                return False
            event = self._feed.cached(at.seq + 1)
            if event is None:
                return True
            if member.take(event) is not Taken.SENT:
                return False
            written.inc()

    def _serve_from_memory(self, written: Counter = _MEMORY) -> None:
        for member in list(self._lagging):
            if not self._needs_history(member, written):
                self._lagging.pop(member, None)

    def _await_fillers(self, secs: float = HOLE_SECS) -> None:
        if (self._lagging or self._head_unseen) and self._timer is None and self._reading is None:
            self._timer = asyncio.get_running_loop().call_later(secs, self._fill)

    def _fill(self) -> None:
        self._timer = None
        if self._head_unseen:
            self._head_unseen = False
            self._lagging.update(self.members)
        self._serve_from_memory()
        if self._lagging:
            self._begin_reading()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_reading(self) -> None:
        if self._reading is None:
            self._stop_timer()
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._has_read)

    def _has_read(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._await_fillers()
        else:
            # A defect of ours: it must not fill the log.
            logger.error("Reading the history of %s failed", self._stream, exc_info=error)
            self._await_fillers(RETRY_SECS)

    async def _read(self) -> None:
        told = False
        while True:
            if self._head_unseen:
                self._head_unseen = False
                self._lagging.update(self.members)
            self._serve_from_memory()
            waiting = self._by_position()
            if not waiting:
                return
            waiting = await self._confirmed([member for members in waiting.values() for member in members])
            if not waiting:
                if self._by_position():
                    await asyncio.sleep(RETRY_SECS)
                continue
            began_at = self._feed.position
            try:
                pages = await asyncio.gather(
                    *(self._reader.page(self._stream, began_at.epoch, after) for after in waiting)
                )
            except (DatabaseError, TimeoutError) as error:
                if not told:
                    logger.warning(
                        "Events of %s wait: the database gives no history, %s", self._stream, type(error).__name__
                    )
                    told = True
                await asyncio.sleep(RETRY_SECS)
                continue
            for (after, members), page in zip(waiting.items(), pages, strict=True):
                self.observe(page.head, began_at)
                if self._checking is not None:
                    await asyncio.shield(self._checking)
                if self._feed.position.epoch != began_at.epoch:
                    break
                for member in members:
                    self._turn_page(member, after, page)
                    # 256 frames for each of a thousand members are seconds of work: others get their turns.
                    await asyncio.sleep(0)

    async def _confirmed(self, waiting: Collection[Member]) -> dict[int, list[Member]]:
        """Those who wait for history and may have it, where they stand by now."""
        allowed = await self._confirm(self._stream, waiting)
        by_position: dict[int, list[Member]] = {}
        for after, members in self._by_position().items():
            if confirmed := [member for member in members if member in allowed]:
                by_position[after] = confirmed
        return by_position

    def _by_position(self) -> dict[int, list[Member]]:
        waiting: dict[int, list[Member]] = {}
        for member in self._lagging:
            at = member.wants(self._stream)
            if at is not None:
                waiting.setdefault(at.seq, []).append(member)
        return waiting

    def _turn_page(self, member: Member, after: int, page: Page) -> None:
        if member not in self._lagging:
            return
        gone = not page.events and page.head.head > after
        # It may have come meanwhile: then the member has it.
        if gone and member.wants(self._stream) == (page.head.epoch, after):
            self._break(member, page.head, GapReason.TRIMMED)
        sent = 0
        for event in page.events:
            taken = member.take(event)
            if taken is Taken.SENT:
                sent += 1
            elif taken is not Taken.COPY:
                break
        _DATABASE.inc(sent)
