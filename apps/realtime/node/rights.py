"""Whether those who listen to a topic still may: its rule is asked again for all sockets of a node together
(docs/topics.md).

The rule is asked first when a socket subscribes. Here its verdicts are kept for as long as they count. A verdict that
cannot be had gives nothing and takes nothing away: no history is read, and the subscription stays.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Set
from typing import Final, Protocol

from django.db import Error as DatabaseError

from .. import metrics
from ..core.names import Stream
from ..topics import TopicRegistry
from . import identity
from .database import DatabaseThreads
from .identity import Wish
from .shared_feed import Member

logger = logging.getLogger(__name__)

# A verdict counts for so long when history is read: pages follow each other, and the rule is not asked for each. It has
# to be longer than a question may take (5 s) and the next try is away (1 s).
FRESH_SECS: Final = 8.0
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

    __slots__ = ("answered", "checked_at", "holders", "slow", "stream", "wish")

    def __init__(self, wish: Wish, stream: Stream) -> None:
        self.wish = wish
        self.stream = stream
        self.holders: set[Holder] = set()
        # When the question began whose answer was yes, by the loop's clock.
        self.checked_at = 0.0
        # While it is being asked: done with any answer, and with none.
        self.answered: asyncio.Future[None] | None = None
        # Its question, or one that it shared, was not answered in time.
        self.slow = False


class TopicRights:
    """The rights of the sockets of one event loop."""

    def __init__(self, database: DatabaseThreads, registry: TopicRegistry) -> None:
        self._database = database
        self._registry = registry
        self._rights: dict[tuple[Stream, str], _Right] = {}
        self._held: dict[tuple[Stream, Member], _Right] = {}
        # What is to be asked, oldest first, and the slow apart: one rule that hangs must not keep others waiting.
        self._wanted: dict[bool, dict[_Right, None]] = {False: {}, True: {}}
        self._askers: dict[bool, asyncio.Task[None]] = {}
        self._failing = False

    def hold(self, holder: Holder, wish: Wish, stream: Stream, checked_at: float) -> None:
        """The socket listens to the topic; the rule was asked at `checked_at` and said yes."""
        right = self._rights.setdefault((stream, wish.user_id), _Right(wish, stream))
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
            del self._rights[right.stream, right.wish.user_id]

    async def confirm(self, stream: Stream, members: Collection[Member]) -> Set[Member]:
        """Those of the members that may have history of the stream, by verdicts that still count.

        A member whose right turns out to be lost has left when this returns, or leaves when the verdict comes.
        """
        held = [right for member in members if (right := self._held.get((stream, member)))]
        # Who has been waited for already keeps nobody from the next page.
        stale = [right for right in dict.fromkeys(held) if right.answered is None and not self._counts(right)]
        if asked := [self._ask(right) for right in stale]:
            await asyncio.wait(asked, timeout=PATIENCE_SECS)
        return {
            member
            for member in members
            # Nothing is held of a user's own stream and of everybody's, nor by whoever has left meanwhile.
            if (right := self._held.get((stream, member))) is None or self._counts(right)
        }

    async def close(self) -> None:
        """Ask no more."""
        for asker in self._askers.values():
            asker.cancel()
        await asyncio.gather(*self._askers.values(), return_exceptions=True)

    def _counts(self, right: _Right) -> bool:
        return asyncio.get_running_loop().time() - right.checked_at <= FRESH_SECS

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
            answers, in_time = await self._answers(list(wishes))
            for right in batch:
                if not right.holders:
                    self._answer(right, None, asked_at)
                elif right.wish in answers:
                    self._answer(right, answers[right.wish], asked_at, slow=not in_time)

    async def _answers(self, wishes: Collection[Wish]) -> tuple[Mapping[Wish, bool | None], bool]:
        """The verdicts, and whether they came in time. Those that are left out want to be asked for again."""
        try:
            answers = await self._database.ask(identity.verdicts, wishes, self._registry, BATCH_SECS)
        except Exception as error:
            if not self._failing:
                self._failing = True
                mistake = None if isinstance(error, DatabaseError | TimeoutError) else error
                logger.warning("Rights to topics cannot be looked up: %r", error, exc_info=mistake)
            return dict.fromkeys(wishes), not isinstance(error, TimeoutError)
        self._failing = False
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
