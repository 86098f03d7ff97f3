"""Keeps the open streams of a node flowing, whatever happens to the broker (docs/brokers.md).

For each stream there is what is wanted (open or not) and what is: a queue on the present link, or none. `_settle` makes
the second equal the first, one call at a time for each stream. Every fault only marks queues as dead and settles again.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from ... import metrics
from ...core.events import DroppedBody, parse_body
from ...core.names import ALL, Stream, is_routing_key
from ...core.signature import Signer
from ..base import OnEvent, OnReopened, ignore_reopened
from ..throttled import ThrottledLog
from .backoff import Backoff
from .deliveries import Delivery
from .hosts import LISTENER, Hosts
from .lane import ConsumedQueue, Lane
from .link import Link, describe
from .topology import QueueNames, uses_user_queue

logger = logging.getLogger(__name__)

# RabbitMQ answers the calls of one channel one after the other; more channels open more streams at once.
LANES: Final = 8
# A socket waits this long for its streams before AUTH OK; the streams go on opening behind it.
OPEN_TIMEOUT_SECS: Final = 5.0
# Half a minute at the usual heartbeat of 10 s.
_REBIND_HEARTBEATS: Final = 3
# A stream that the broker refuses to open, for a missing right for example, is asked for again at this rate at last.
_REFUSED_RETRY_SECS: Final = 30.0
# A link that lived this long was fine; the next failure starts with the shortest delay again.
_STABLE_SECS: Final = 10.0


class _Feed:
    """One stream on one link: whether it is wanted, and the queue that carries it (None, or dead, when none does).

    `flowed` is true once somebody counts on its events, on this link or one before: opening it then is opening it anew.
    """

    __slots__ = ("flowed", "lock", "queue", "stream", "wanted")

    def __init__(self, stream: Stream, *, flowed: bool = False) -> None:
        self.stream = stream
        self.flowed = flowed
        self.wanted = True
        self.queue: ConsumedQueue | None = None
        self.lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self.queue is not None and self.queue.alive


class _Wiring:
    """A link with everything that dies with it. A call that hangs on a dead link blocks nothing of the next one."""

    def __init__(self, link: Link, lanes: list[Lane], names: QueueNames) -> None:
        self.link = link
        self.lanes = lanes
        self._names = names
        self._node_queue: ConsumedQueue | None = None
        self._node_queue_lock = asyncio.Lock()

    def lane_of(self, stream: Stream, *, own_queue: bool) -> Lane:
        return self.lanes[hash(stream) % LANES if own_queue else 0]

    async def own_queue(self, stream: Stream, lane: Lane) -> ConsumedQueue:
        return await lane.consume(self._names.next(stream), stream)

    async def node_queue(self, lane: Lane) -> ConsumedQueue:
        async with self._node_queue_lock:
            if self._node_queue is None or not self._node_queue.alive:
                self._node_queue = await lane.consume(self._names.next("node"), ALL)
            return self._node_queue


class RabbitListener:
    """The listener of one node.

    Args:
        urls: `amqp://` or `amqps://`, of each host of the broker.
        per_user_queues: a queue for each user (True) or bindings on the node's one queue.
        signer: knows which numbers are ours.
    """

    def __init__(self, urls: Sequence[str], *, heartbeat_secs: int, per_user_queues: bool, signer: Signer) -> None:
        self._hosts = Hosts(urls, LISTENER)
        self._signer = signer
        self._heartbeat_secs = heartbeat_secs
        self._per_user_queues = per_user_queues
        self._names = QueueNames()
        self._feeds: dict[Stream, _Feed] = {}
        # None while there is no link.
        self._wiring: _Wiring | None = None
        self._on_event: OnEvent | None = None
        self._on_reopened: OnReopened = ignore_reopened
        self._supervisor: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        # Never cancelled, as that would leave the socket open; each ends within three seconds.
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._problem: str | None = "not connected yet"
        self._log = ThrottledLog(logger)

    @property
    def problem(self) -> str | None:
        return self._problem

    def start(self, on_event: OnEvent, on_reopened: OnReopened = ignore_reopened) -> None:
        self._on_event = on_event
        self._on_reopened = on_reopened
        self._feeds[ALL] = _Feed(ALL)
        self._supervisor = asyncio.create_task(self._supervise())

    async def open(self, stream: Stream) -> None:
        feed = self._feeds.get(stream)
        if feed is None:
            feed = self._feeds[stream] = _Feed(stream)
        feed.wanted = True
        if self._wiring is not None and not feed.is_open:
            # A task of its own: a socket that gives up waiting must not cancel a call on a shared channel.
            await asyncio.wait({self._begin_settling(feed)}, timeout=OPEN_TIMEOUT_SECS)
            # Whoever gave up waiting reads the head now, before the stream is open: it has to be compared again then.
            feed.flowed = True

    def release(self, stream: Stream) -> None:
        feed = self._feeds.get(stream)
        if feed is not None and stream != ALL:
            feed.wanted = False
            self._begin_settling(feed)

    async def close(self) -> None:
        tasks = {task for task in (self._supervisor, *self._background) if task is not None}
        for task in tasks:
            task.cancel()
        if self._wiring is not None:
            self._say_goodbye(self._wiring.link)
        if tasks | self._goodbyes:
            await asyncio.wait(tasks | self._goodbyes)

    # The link ------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        while True:
            try:
                await self._keep_linked()
            except Exception:
                # A defect of ours must not silence the node for good.
                logger.exception("The listener's supervision failed; starting it again")
                self._wiring = None
                self._problem = "internal error, see the log"
                await asyncio.sleep(1)

    async def _keep_linked(self) -> None:
        loop = asyncio.get_running_loop()
        name = f"message-flow node {socket.gethostname()} {os.getpid()}"
        while True:
            try:
                link = await Link.connect(
                    self._hosts.url, heartbeat_secs=self._heartbeat_secs, name=name, on_delivery=self._delivered
                )
            except Exception as error:
                self._report(describe(error))
                await asyncio.sleep(self._hosts.next_secs())
                continue
            up_at = loop.time()
            await self._wire(link)
            reason = await link.lost
            self._wiring = None
            metrics.BROKER_LINKS_LOST.labels("listener").inc()
            self._report(reason)
            if loop.time() - up_at > _STABLE_SECS:
                self._hosts.steady()
            # In the background: saying goodbye to a dead peer takes seconds.
            self._say_goodbye(link)
            await asyncio.sleep(self._hosts.next_secs())

    async def _wire(self, link: Link) -> None:
        lanes = [Lane(link, self._queue_dead) for _ in range(LANES)]
        self._wiring = _Wiring(link, lanes, self._names)
        self._feeds = {feed.stream: _Feed(feed.stream, flowed=True) for feed in self._feeds.values() if feed.wanted}
        opening = asyncio.gather(*(self._begin_settling(feed) for feed in self._feeds.values()))
        # One stream that cannot be opened must not keep the node from being ready.
        waited: set[asyncio.Future[Any]] = {opening, link.lost}
        await asyncio.wait(waited, timeout=OPEN_TIMEOUT_SECS, return_when=asyncio.FIRST_COMPLETED)
        if not link.lost.done():
            self._problem = None
            self._hosts.show(up=True)
            logger.info("Listening on %s with %d streams", self._hosts.address, len(self._feeds))
            self._keep(asyncio.create_task(self._keep_bound(self._wiring)))

    async def _keep_bound(self, wiring: _Wiring) -> None:
        """Bind every stream again and again, evenly spread: a binding that somebody took away is silent otherwise.

        The same goes for an exchange that was deleted and at once declared again by a publisher. A binding that exists
        costs the broker a look.
        """
        while self._wiring is wiring:
            feeds = list(self._feeds.values())
            for feed in feeds:
                await asyncio.sleep(self._heartbeat_secs * _REBIND_HEARTBEATS / len(feeds))
                queue = feed.queue
                if self._wiring is not wiring or queue is None or not queue.alive:
                    continue
                lane = wiring.lane_of(feed.stream, own_queue=self._has_own_queue(feed.stream))
                # A lane whose channel fails over this opens another one, and the stream with it.
                with suppress(Exception):
                    await lane.bind(queue, feed.stream)

    def _report(self, reason: str) -> None:
        if self._hosts.is_news(reason):
            logger.warning("No events come from %s: %s. Sockets stay open; trying again", self._hosts.address, reason)
        self._problem = f"{self._hosts.address}: {reason}"
        self._hosts.show(up=False)

    # Streams -------------------------------------------------------------------------------------

    def _begin_settling(self, feed: _Feed) -> asyncio.Task[None]:
        return self._keep(asyncio.create_task(self._settle(feed)))

    def _say_goodbye(self, link: Link) -> None:
        task = asyncio.create_task(link.close())
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _settle(self, feed: _Feed) -> None:
        own_queue = self._has_own_queue(feed.stream)
        backoff = Backoff(longest_secs=_REFUSED_RETRY_SECS)
        async with feed.lock:
            while feed.wanted != feed.is_open:
                wiring = self._wiring
                if wiring is None or self._feeds.get(feed.stream) is not feed:
                    return
                lane = wiring.lane_of(feed.stream, own_queue=own_queue)
                try:
                    if not feed.wanted:
                        await self._let_go(feed, lane, own_queue=own_queue)
                        continue
                    if own_queue:
                        feed.queue = await wiring.own_queue(feed.stream, lane)
                    else:
                        queue = await wiring.node_queue(lane)
                        await lane.bind(queue, feed.stream)
                        feed.queue = queue
                    if feed.flowed:
                        self._on_reopened(feed.stream)
                    feed.flowed = True
                except Exception as error:
                    if wiring.link.lost.done():
                        return
                    self._log.warning("A stream could not be opened or released: %s", describe(error))
                    await asyncio.sleep(backoff.next_secs())
            if not feed.wanted and self._feeds.get(feed.stream) is feed:
                del self._feeds[feed.stream]

    def _has_own_queue(self, stream: Stream) -> bool:
        return self._per_user_queues and uses_user_queue(stream)

    async def _let_go(self, feed: _Feed, lane: Lane, *, own_queue: bool) -> None:
        queue, feed.queue = feed.queue, None
        assert queue is not None
        if own_queue:
            await lane.delete(queue)
        else:
            await lane.unbind(queue, feed.stream)

    def _queue_dead(self, queue: ConsumedQueue) -> None:
        for feed in self._feeds.values():
            if feed.queue is queue:
                self._begin_settling(feed)

    # Events --------------------------------------------------------------------------------------

    def _delivered(self, delivery: Delivery) -> None:
        metrics.RECEIVED.inc()
        key = delivery.routing_key
        try:
            if not is_routing_key(key):
                raise DroppedBody("bad_routing_key")
            event = parse_body(
                delivery.body, Stream(key), delivery.headers, self._signer.is_genuine, mid=delivery.message_id
            )
        except DroppedBody as dropped:
            metrics.BODIES_DROPPED.labels(dropped.reason).inc()
            self._log.warning("Dropped a message from the exchange that is no event: %s", dropped)
            return
        assert self._on_event is not None
        self._on_event(event)
