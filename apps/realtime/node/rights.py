"""Whether those who listen to a topic still may: its rule is asked again for all sockets of a node together
(docs/topics.md).

The rule is asked first when a socket subscribes. Here its verdicts are kept for as long as they count. A verdict that
cannot be had gives nothing and takes nothing away: no history is read, and the subscription stays.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import suppress
from typing import Final, Protocol

from .. import metrics
from ..core.names import Stream
from ..core.parts import parts
from ..topics import TopicRegistry
from . import identity
from .database import Database, Outage
from .identity import Wish
from .shared_feed import Member

logger = logging.getLogger(__name__)

# A verdict counts for so long when history is read: pages follow each other, and the rule is not asked for each. It has
# to be longer than a question may take (5 s) and the next try is away (1 s).
FRESH_SECS: Final = 8.0
# Whoever listens is asked for again after this time, so that a lost right ends within a minute: a verdict is so old at
# most, and then waits for the next look and for the answer.
CHECK_AFTER_SECS: Final = 45.0
LOOK_EVERY_SECS: Final = 5.0
# Wishes that one question holds, and how long it may keep a thread that sockets authenticate in.
BATCH_WISHES: Final = 100
BATCH_SECS: Final = 0.5
# So long a reading of history waits for the verdicts of all its members; then it goes on without those that lack one.
PATIENCE_SECS: Final = 1.0


class Holder(Member, Protocol):
    """A socket that listens to a topic."""

    def revoked(self, stream: Stream) -> None:
        """The right is lost: leave the stream, and say so."""


class _Right:
    """One user's right to one topic, held by that user's sockets on this node."""

    __slots__ = ("answered", "changed", "checked_at", "holders", "slow", "stream", "wish")

    def __init__(self, wish: Wish, stream: Stream) -> None:
        self.wish = wish
        self.stream = stream
        self.holders: set[Holder] = set()
        # When the question began whose answer was yes, by the loop's clock.
        self.checked_at = float("-inf")
        # While it is being asked: done with any answer, and with none.
        self.answered: asyncio.Future[None] | None = None
        # Since the question began: its answer may be out of date.
        self.changed = False
        # Its question, or one that it shared, was not answered in time.
        self.slow = False


class TopicRights:
    """The rights of the sockets of one event loop."""

    def __init__(self, database: Database, registry: TopicRegistry) -> None:
        self._database = database
        self._registry = registry
        # By user.
        self._rights: dict[str, dict[Stream, _Right]] = {}
        self._held: dict[tuple[Stream, Member], _Right] = {}
        # What is to be asked, oldest first, and the slow apart: one rule that hangs must not keep others waiting.
        self._wanted: dict[bool, dict[_Right, None]] = {False: {}, True: {}}
        self._askers: dict[bool, asyncio.Task[None]] = {}
        self._outage = Outage(logger, "Rights to topics cannot be looked up")
        self._checking: asyncio.Task[None] | None = None
        self._look = asyncio.Event()

    def start(self) -> None:
        """Begin to ask again, in the running event loop."""
        self._checking = asyncio.create_task(self._keep_checking())

    def hold(self, holder: Holder, wish: Wish, stream: Stream, checked_at: float) -> None:
        """The socket listens to the topic; the rule was asked at `checked_at` and said yes."""
        right = self._rights.setdefault(wish.user_id, {}).setdefault(stream, _Right(wish, stream))
        right.holders.add(holder)
        right.checked_at = max(right.checked_at, checked_at)
        self._held[stream, holder] = right

    def drop(self, holder: Holder, stream: Stream) -> None:
        """The socket does not listen to this stream any more; of one that is no topic nothing is known."""
        right = self._held.pop((stream, holder), None)
        if right is None:
            return
        right.holders.discard(holder)
        if not right.holders:
            of_user = self._rights[right.wish.user_id]
            del of_user[right.stream]
            if not of_user:
                del self._rights[right.wish.user_id]

    def revoke(self, user_id: str, stream: Stream) -> None:
        """The right is lost, as the project says."""
        right = self._rights.get(user_id, {}).get(stream)
        if right is not None:
            self._take_away(right)

    def look_again(self, user_id: str | None = None) -> None:
        """What is known of this user's rights, or of everybody's, may be out of date: ask at once."""
        for right in self._all() if user_id is None else self._rights.get(user_id, {}).values():
            right.checked_at = float("-inf")
            right.changed = True
            # One user goes first; everybody is asked for little by little.
            if user_id is not None and right.answered is None:
                self._ask(right)
        if user_id is None:
            self._look.set()

    async def confirm(self, stream: Stream, members: Collection[Member]) -> Set[Member]:
        """Those of the members that may have history of the stream, by verdicts that still count.

        A member whose right turns out to be lost has left when this returns, or leaves when the verdict comes.
        """
        held = [right for member in members if (right := self._held.get((stream, member)))]
        stale = [right for right in dict.fromkeys(held) if not self._counts(right)]
        asked = [(right, right.answered or self._ask(right)) for right in stale]
        # What was not answered in time once keeps nobody waiting.
        if quick := [answered for right, answered in asked if not right.slow]:
            await asyncio.wait(quick, timeout=PATIENCE_SECS)
        return {
            member
            for member in members
            # Nothing is held of a user's own stream and of everybody's, nor by whoever has left meanwhile.
            if (right := self._held.get((stream, member))) is None or self._counts(right)
        }

    async def close(self) -> None:
        """Ask no more."""
        tasks = [task for task in (self._checking, *self._askers.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _all(self) -> Iterator[_Right]:
        return (right for of_user in self._rights.values() for right in of_user.values())

    async def _keep_checking(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECS):
                    await self._look.wait()
            self._look.clear()
            due = [right for right in self._all() if not self._counts(right, CHECK_AFTER_SECS)]
            # A question at a time: who waits for history comes in between.
            for part in parts(due, BATCH_WISHES):
                batch = [right for right in part if right.holders]
                if asked := [self._ask(right) for right in batch if right.answered is None]:
                    await asyncio.wait(asked, timeout=PATIENCE_SECS)

    def _counts(self, right: _Right, secs: float = FRESH_SECS) -> bool:
        return asyncio.get_running_loop().time() - right.checked_at <= secs

    def _ask(self, right: _Right) -> asyncio.Future[None]:
        right.answered = asyncio.get_running_loop().create_future()
        self._wanted[right.slow][right] = None
        asker = self._askers.get(right.slow)
        if asker is None or asker.done():
            # It begins in the loop's next turn, when all of this one's questions are there.
            self._askers[right.slow] = asyncio.create_task(self._run(slow=right.slow))
        return right.answered

    async def _run(self, *, slow: bool) -> None:
        wanted = self._wanted[slow]
        while wanted:
            asked_at = asyncio.get_running_loop().time()
            batch = list(wanted)[: 1 if slow else BATCH_WISHES]
            # Where nobody holds it any more, the same right may have begun anew.
            wishes = {right.wish: right for right in batch if right.holders}
            for right in batch:
                right.changed = False
            answers, in_time = await self._answers(list(wishes))
            for right in batch:
                if not right.holders:
                    self._answer(right, None, asked_at)
                elif right.wish in answers and not (answers[right.wish] and right.changed):
                    self._answer(right, answers[right.wish], asked_at, slow=not in_time)

    async def _answers(self, wishes: Collection[Wish]) -> tuple[Mapping[Wish, bool | None], bool]:
        """The verdicts, and whether they came in time. Those that are left out want to be asked for again."""
        try:
            answers = await self._database.ask(identity.verdicts, wishes, self._registry, BATCH_SECS)
        except Exception as error:
            self._outage.goes_on(error)
            return dict.fromkeys(wishes), not isinstance(error, TimeoutError)
        self._outage.is_over()
        return answers, True

    def _answer(self, right: _Right, verdict: bool | None, asked_at: float, *, slow: bool = False) -> None:
        del self._wanted[right.slow][right]
        right.slow = slow
        if verdict:
            right.checked_at = max(right.checked_at, asked_at)
        elif verdict is False:
            self._take_away(right)
        assert right.answered is not None
        right.answered.set_result(None)
        right.answered = None

    def _take_away(self, right: _Right) -> None:
        for holder in list(right.holders):
            metrics.RIGHTS_REVOKED.inc()
            holder.revoked(right.stream)
