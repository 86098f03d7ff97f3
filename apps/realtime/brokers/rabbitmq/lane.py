"""A share of a link's streams: a channel that consumes their queues, and one that sets them up (docs/brokers.md).

The broker closes a channel over a call that it refuses (403, 404, 406). So whatever may be refused for a single stream
happens on a channel without consumers: the streams that flow never notice. Should the broker close a consuming channel
all the same, it takes only its own lane down.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import aiormq
from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import ChannelFrame
from pamqp import commands
from pamqp.base import Frame

from ...core.names import Stream
from .backoff import Backoff
from .link import RPC_TIMEOUT_SECS, Link, describe
from .topology import EXCHANGE, QUEUE_ARGUMENTS

logger = logging.getLogger(__name__)

# Streams that are opened with one call. A thousand pages that come back at once ask for a hundred in each lane.
_TOGETHER: Final = 100
# A channel that lives this long was fine; the next failure starts with the shortest delay again.
_STABLE_SECS: Final = 30.0


async def _taken_by_the_transport(message: Any) -> None:
    raise AssertionError(f"a delivery passed the transport by: {message}")


class ConsumedQueue:
    """A queue that this node declared and consumes.

    Attributes:
        alive: False once the broker took the queue, its consumer or its channel away.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True


class _Opening:
    """A stream that is to flow into a queue: one to declare and consume (`new`), or one that flows already."""

    __slots__ = ("done", "new", "queue", "stream")

    def __init__(self, queue: ConsumedQueue, stream: Stream, *, new: bool) -> None:
        self.queue = queue
        self.stream = stream
        self.new = new
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def _fail(openings: list[_Opening], error: Exception) -> None:
    for opening in openings:
        opening.done.set_exception(error)


def _declare(name: str) -> Frame:
    return commands.Queue.Declare(
        queue=name, exclusive=True, auto_delete=True, nowait=True, arguments=dict(QUEUE_ARGUMENTS)
    )


def _consume(name: str) -> Frame:
    return commands.Basic.Consume(queue=name, consumer_tag=name, no_ack=True, nowait=True)


async def _send(channel: UnderlayChannel, frames: list[Frame]) -> None:
    """Send calls that the broker does not answer; one write, where aiormq's own way takes a task for each.

    Raises:
        TimeoutError: the connection takes nothing more.
    """
    if not frames:
        return
    async with asyncio.timeout(RPC_TIMEOUT_SECS):
        await channel.connection.write_queue.put(ChannelFrame.marshall(channel.number, frames))


class Lane:
    """Two channels, opened when they are needed and again after the broker closed them.

    `on_dead` is told of a queue whose events stop: its streams must be opened again.
    """

    def __init__(self, link: Link, on_dead: Callable[[ConsumedQueue], None]) -> None:
        self._link = link
        self._on_dead = on_dead
        # Declares and binds; None before its first use and after the broker closed it.
        self._setup: AbstractChannel | None = None
        # Consumes; the same.
        self._consuming: AbstractChannel | None = None
        self._consuming_since = 0.0
        self._backoff = Backoff(longest_secs=30.0)
        # A channel answers one call at a time. Waiting here instead of inside the call keeps its deadline for the
        # broker alone: with a thousand streams to open the last ones would time out, and that closes the channel.
        self._turn = asyncio.Lock()
        # What waits for its turn, oldest first.
        self._openings: list[_Opening] = []
        # By consumer tag.
        self._queues: dict[str, ConsumedQueue] = {}

    async def consume(self, name: str, stream: Stream) -> ConsumedQueue:
        """Declare an exclusive queue, bind it to the stream and consume it."""
        queue = ConsumedQueue(name)
        await self._open(_Opening(queue, stream, new=True))
        return queue

    async def bind(self, queue: ConsumedQueue, stream: Stream) -> None:
        """Let the stream's events into the queue."""
        await self._open(_Opening(queue, stream, new=False))

    async def unbind(self, queue: ConsumedQueue, stream: Stream) -> None:
        """Keep the stream's events out again."""
        async with self._turn:
            await self._set_up((await self._setup_channel()).queue_unbind(queue.name, EXCHANGE, stream))

    async def delete(self, queue: ConsumedQueue) -> None:
        """Give the queue back to the broker."""
        queue.alive = False
        self._queues.pop(queue.name, None)
        async with self._turn:
            await (await self._setup_channel()).queue_delete(queue.name, nowait=True)

    async def _open(self, opening: _Opening) -> None:
        self._openings.append(opening)
        async with self._turn:
            # Whoever had the turn may have taken it along.
            if not opening.done.done():
                together, self._openings = self._openings[:_TOGETHER], self._openings[_TOGETHER:]
                await self._open_together(together)
        await opening.done

    async def _open_together(self, openings: list[_Opening]) -> None:
        """Open all of them, or tell each why not."""
        try:
            await self._try_to_open(openings)
        except aiormq.exceptions.AMQPChannelError as error:
            await self._undo(openings)
            if len(openings) > 1 and not self._link.lost.done():
                # One that the broker refuses must not cost the others their streams.
                for opening in openings:
                    await self._open_together([opening])
            else:
                _fail(openings, error)
        except Exception as error:
            await self._undo(openings)
            _fail(openings, error)
        else:
            for opening in openings:
                opening.done.set_result(None)

    async def _try_to_open(self, openings: list[_Opening]) -> None:
        queues = [opening.queue for opening in openings if opening.new]
        consuming = await self._consuming_channel() if queues else None
        setup = await self._setup_channel()
        frames: list[Frame] = []
        for opening in openings:
            if opening.new:
                frames.append(_declare(opening.queue.name))
            frames.append(commands.Queue.Bind(0, opening.queue.name, EXCHANGE, opening.stream, nowait=True))
        # The broker works through a channel in order: the answer to the last call says that all others went well too.
        last = openings[-1]
        await _send(setup, frames[:-1])
        await self._set_up(setup.queue_bind(last.queue.name, EXCHANGE, last.stream))
        if consuming is None:
            return
        # The tag is ours, so that a cancel that overtakes consume-ok finds the queue.
        self._queues.update((queue.name, queue) for queue in queues)
        assert isinstance(consuming, aiormq.Channel)
        *others, name = [queue.name for queue in queues]
        consuming.consumers.update(dict.fromkeys(others, _taken_by_the_transport))
        await _send(consuming, [_consume(other) for other in others])
        await self._link.answer(consuming.basic_consume(name, _taken_by_the_transport, no_ack=True, consumer_tag=name))

    async def _undo(self, openings: list[_Opening]) -> None:
        frames: list[Frame] = []
        for opening in openings:
            if opening.new:
                self._queues.pop(opening.queue.name, None)
                # It deletes itself after its last consumer only, and it may never have had one.
                frames.append(commands.Queue.Delete(queue=opening.queue.name, nowait=True))
        with suppress(Exception):
            await _send(await self._setup_channel(), frames)

    async def _set_up(self, call: Coroutine[Any, Any, Any]) -> None:
        try:
            await self._link.answer(call)
        except TimeoutError:
            # It is being closed, and takes nothing any more.
            self._setup = None
            raise

    async def _setup_channel(self) -> UnderlayChannel:
        # At once, whenever it is needed: each stream limits the rate of its own attempts.
        if self._setup is None or self._setup.is_closed:
            self._setup = await self._link.channel()
        return await self._setup.get_underlay_channel()

    async def _consuming_channel(self) -> UnderlayChannel:
        if self._consuming is None or self._consuming.is_closed:
            loop = asyncio.get_running_loop()
            if self._consuming is not None:
                if loop.time() - self._consuming_since > _STABLE_SECS:
                    self._backoff.reset()
                await asyncio.sleep(self._backoff.next_secs())
            channel = await self._link.channel()
            self._consuming = channel
            self._consuming_since = loop.time()
            channel.close_callbacks.add(self._channel_closed)
            (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(self._cancelled)
        return await self._consuming.get_underlay_channel()

    def _cancelled(self, frame: Any) -> None:
        queue = self._queues.pop(frame.consumer_tag, None)
        if queue is not None:
            logger.warning("The broker cancelled the consumer of queue %s; declaring it anew", queue.name)
            self._lose(queue)

    def _channel_closed(self, channel: Any, error: BaseException | None = None) -> None:
        if self._link.lost.done():
            return  # the listener rebuilds everything
        logger.warning("The broker closed a channel, opening another: %s", describe(error) if error else "-")
        queues, self._queues = self._queues, {}
        for queue in queues.values():
            self._lose(queue)

    def _lose(self, queue: ConsumedQueue) -> None:
        queue.alive = False
        self._on_dead(queue)
