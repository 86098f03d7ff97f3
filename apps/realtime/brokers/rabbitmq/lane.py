"""One channel of a link and the queues consumed on it (docs/brokers.md).

A channel that the broker closes (406, 403, 404) takes only its own lane down: the lane opens another one, at a limited
rate, and its streams are opened again. The other lanes never notice.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from aio_pika.abc import AbstractChannel

from ...core.names import Stream
from .backoff import Backoff
from .link import RPC_TIMEOUT_SECS, Link, OnMessage, describe
from .topology import EXCHANGE, QUEUE_ARGUMENTS

logger = logging.getLogger(__name__)

# A channel that lives this long was fine; the next failure starts with the shortest delay again.
_STABLE_SECS: Final = 30.0


class ConsumedQueue:
    """A queue that this node declared and consumes.

    Attributes:
        alive: False once the broker took the queue, its consumer or its channel away.
    """

    def __init__(self, name: str, channel: AbstractChannel) -> None:
        self.name = name
        self.channel = channel
        self.alive = True


class Lane:
    """A channel, opened when it is needed and again after the broker closed it.

    `on_dead` is told of a queue whose events stop: its streams must be opened again.
    """

    def __init__(self, link: Link, on_message: OnMessage, on_dead: Callable[[ConsumedQueue], None]) -> None:
        self._link = link
        self._on_message = on_message
        self._on_dead = on_dead
        self._channel: AbstractChannel | None = None
        # A channel answers one call at a time. Waiting here instead of inside the call keeps its deadline for the
        # broker alone: with a thousand streams to open the last ones would time out, and that closes the channel.
        self._turn = asyncio.Lock()
        self._opened_at = 0.0
        self._backoff = Backoff(longest_secs=30.0)
        # By consumer tag.
        self._queues: dict[str, ConsumedQueue] = {}

    async def consume(self, name: str, stream: Stream | None = None) -> ConsumedQueue:
        """Declare an exclusive queue, bind it to the stream and consume it.

        Three calls and one round trip: the broker works through a channel in order, so its answer to the last one says
        that the others went well.
        """
        async with self._turn:
            channel = await self._ready()
            underlay = await channel.get_underlay_channel()
            await underlay.queue_declare(
                name, exclusive=True, auto_delete=True, arguments=dict(QUEUE_ARGUMENTS), nowait=True
            )
            if stream is not None:
                await underlay.queue_bind(name, EXCHANGE, stream, nowait=True)
            queue = ConsumedQueue(name, channel)
            # The tag is ours, so that a cancel that overtakes consume-ok finds the queue.
            self._queues[name] = queue
            try:
                await underlay.basic_consume(
                    name, self._on_message, no_ack=True, consumer_tag=name, timeout=RPC_TIMEOUT_SECS
                )
            except BaseException:
                self._queues.pop(name, None)
                raise
            return queue

    async def bind(self, queue: ConsumedQueue, stream: Stream) -> None:
        """Let the stream's events into the queue."""
        async with self._turn:
            underlay = await queue.channel.get_underlay_channel()
            await underlay.queue_bind(queue.name, EXCHANGE, stream, timeout=RPC_TIMEOUT_SECS)

    async def unbind(self, queue: ConsumedQueue, stream: Stream) -> None:
        """Keep the stream's events out again."""
        async with self._turn:
            underlay = await queue.channel.get_underlay_channel()
            await underlay.queue_unbind(queue.name, EXCHANGE, stream, timeout=RPC_TIMEOUT_SECS)

    async def delete(self, queue: ConsumedQueue) -> None:
        """Give the queue back to the broker."""
        queue.alive = False
        self._queues.pop(queue.name, None)
        async with self._turn:
            underlay = await queue.channel.get_underlay_channel()
            await underlay.queue_delete(queue.name, nowait=True)

    async def _ready(self) -> AbstractChannel:
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        loop = asyncio.get_running_loop()
        if self._channel is not None:
            if loop.time() - self._opened_at > _STABLE_SECS:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next_secs())
        channel = await self._link.channel()
        self._channel = channel
        self._opened_at = loop.time()
        channel.close_callbacks.add(self._channel_closed)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._cancelled)
        return channel

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
