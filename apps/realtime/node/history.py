"""Where the sockets of a node read heads and history: many requests, few queries (docs/history.md).

When a broker or a node comes back, every session asks at once. What they ask is gathered and answered together, so that
the database sees at most 20 queries a second of a node, whatever the number of its sessions.
"""

import asyncio
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from .. import history, metrics
from ..core.events import Event
from ..core.names import Stream
from ..core.resume import Cursor, Head, may_recover
from ..history import PageRequest, Range
from .database import Database, copied

# A batch makes three queries at most and starts when what went before it is paid off. So in any second there are fewer
# than 18 queries and the last batch: 20.
QUERY_EVERY_SECS: Final = 1 / 18
# What the verdicts of a batch may count. On a busy machine 100,000 rows took 0.1 s, 500,000 that lay apart up to 3.5 s.
COUNTED_MAX: Final = 100_000


class Page(NamedTuple):
    """The next events of a stream and its head, which was read before them."""

    head: Head
    events: list[Event]


class _HeadRequest(NamedTuple):
    stream: Stream


class _SinceRequest(NamedTuple):
    stream: Stream
    since: Cursor


_Request = _HeadRequest | _SinceRequest | PageRequest


class HistoryReader:
    """The door to heads and history for one event loop.

    An answer comes from queries that started after the request. Equal requests share one. Every method raises
    `django.db.Error` or `TimeoutError` where the database gives no answer.
    """

    def __init__(self, database: Database, *, replay_max: int) -> None:
        self._database = database
        self._replay_max = replay_max
        verdicts_max = max(1, min(COUNTED_MAX // replay_max, history.RANGES_MAX))
        heads_max = history.NAMES_MAX - verdicts_max - history.RANGES_MAX
        # How many requests of a kind a batch takes: one query each for heads, counts and pages.
        self._room: dict[type[_Request], int] = {
            _HeadRequest: heads_max,
            _SinceRequest: verdicts_max,
            PageRequest: history.RANGES_MAX,
        }
        self._wanted: dict[_Request, list[asyncio.Future[Any]]] = {}
        self._runner: asyncio.Task[None] | None = None
        self._free_at = 0.0
        self._closed = False

    @property
    def problem(self) -> str | None:
        """Why the last question of any socket got no answer; None when it got one."""
        return self._database.problem

    async def head(self, stream: Stream) -> Head:
        """Where the stream stands."""
        head: Head = await self._want(_HeadRequest(stream))
        return head

    async def verdict(self, stream: Stream, since: Cursor) -> tuple[Head, int]:
        """Where the stream stands, and how many events between there and `since` are stored.

        0 where there are none, where too many are missed, or where `since` is no position of this numbering.
        """
        answer: tuple[Head, int] = await self._want(_SinceRequest(stream, since))
        return answer

    async def page(self, stream: Stream, epoch: str, after: int) -> Page:
        """The next events behind a seq, none where the next one is not stored."""
        page: Page = await self._want(PageRequest(stream, epoch, after))
        return page

    async def heads(
        self, streams: Collection[Stream], *, changed_within_secs: float | None = None
    ) -> dict[Stream, Head]:
        """Where up to 1,000 streams stand, or those of them that changed lately: a query of its own."""
        await self._turn()
        self._pay(1)
        metrics.HISTORY_READS.inc()
        if changed_within_secs is None:
            return await self._database.ask(history.heads, streams)
        return await self._database.ask(history.changed_heads, streams, changed_within_secs)

    def close(self) -> None:
        """Answer nobody any more: whoever waits is cancelled."""
        self._closed = True
        if self._runner is not None:
            self._runner.cancel()
        for waiters in self._wanted.values():
            for waiter in waiters:
                waiter.cancel()
        self._wanted.clear()

    def _want(self, request: _Request) -> asyncio.Future[Any]:
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed:
            waiter.cancel()
            return waiter
        self._wanted.setdefault(request, []).append(waiter)
        if self._runner is None or self._runner.done():
            # It begins in the loop's next turn, when all of this one's requests are there.
            self._runner = asyncio.create_task(self._run())
        return waiter

    async def _run(self) -> None:
        while self._wanted:
            await self._turn()
            await self._answer(self._take())

    async def _turn(self) -> None:
        """Return when the queries so far are paid off."""
        loop = asyncio.get_running_loop()
        while (wait_secs := self._free_at - loop.time()) > 0:
            await asyncio.sleep(wait_secs)

    def _pay(self, queries: int) -> None:
        self._free_at = asyncio.get_running_loop().time() + queries * QUERY_EVERY_SECS

    def _take(self) -> dict[_Request, list[asyncio.Future[Any]]]:
        """The next batch, oldest requests first; what nobody waits for any more is left out."""
        batch: dict[_Request, list[asyncio.Future[Any]]] = {}
        room = dict(self._room)
        for request in list(self._wanted):
            if room[type(request)]:
                room[type(request)] -= 1
                batch[request] = self._wanted.pop(request)
        return {request: waiters for request, waiters in batch.items() if not all(waiter.done() for waiter in waiters)}

    async def _answer(self, batch: dict[_Request, list[asyncio.Future[Any]]]) -> None:
        if not batch:
            return
        kinds = {type(request) for request in batch}
        self._pay(1 + (_SinceRequest in kinds) + (PageRequest in kinds))
        waiting = [(request, waiter) for request, waiters in batch.items() for waiter in waiters]
        try:
            answers = await self._database.ask(_read, list(batch), self._replay_max)
        except Exception as error:
            for _, waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(copied(error))
        except asyncio.CancelledError:
            for _, waiter in waiting:
                waiter.cancel()
            raise
        else:
            for request, waiter in waiting:
                if not waiter.done():
                    waiter.set_result(answers[request])


def _read(requests: Collection[_Request], replay_max: int) -> dict[_Request, Any]:
    """Runs in a thread. Heads come first: what was counted or read later holds all that a head promises."""
    metrics.HISTORY_READS.inc()
    heads = history.heads({request.stream for request in requests})
    ranges: dict[_SinceRequest, Range] = {}
    for request in requests:
        if isinstance(request, _SinceRequest):
            head = heads[request.stream]
            if request.since.seq < head.head and may_recover(request.since, head, replay_max):
                ranges[request] = Range(request.stream, head.epoch, request.since.seq, head.head)
    counts: dict[Range, int] = {}
    if ranges:
        metrics.HISTORY_READS.inc()
        counts = history.counts(ranges.values())
    events: dict[PageRequest, list[Event]] = {}
    if page_requests := [request for request in requests if isinstance(request, PageRequest)]:
        metrics.HISTORY_READS.inc()
        events = history.pages(page_requests)
    answers: dict[_Request, Any] = {}
    for request in requests:
        head = heads[request.stream]
        match request:
            case PageRequest():
                answers[request] = Page(head, events[request])
            case _SinceRequest():
                answers[request] = head, counts[ranges[request]] if request in ranges else 0
            case _HeadRequest():
                answers[request] = head
    return answers
