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

from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractChannel as UnderlayChannel

from ...core.names import Stream
from .backoff import Backoff
from .link import Link, describe
from .topology import EXCHANGE, QUEUE_ARGUMENTS

logger = logging.getLogger(__name__)

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
        # By consumer tag.
        self._queues: dict[str, ConsumedQueue] = {}

    async def consume(self, name: str, stream: Stream) -> ConsumedQueue:
        """Declare an exclusive queue, bind it to the stream and consume it."""
        async with self._turn:
            consuming = await self._consuming_channel()
            setup = await self._setup_channel()
            await setup.queue_declare(
                name, exclusive=True, auto_delete=True, arguments=dict(QUEUE_ARGUMENTS), nowait=True
            )
            try:
                # The broker works through a channel in order: this answer says that the declaration went well too.
                await self._set_up(setup.queue_bind(name, EXCHANGE, stream))
                queue = ConsumedQueue(name)
                # The tag is ours, so that a cancel that overtakes consume-ok finds the queue.
                self._queues[name] = queue
                await self._link.answer(
                    consuming.basic_consume(name, _taken_by_the_transport, no_ack=True, consumer_tag=name)
                )
            except Exception:
                self._queues.pop(name, None)
                # It deletes itself after its last consumer only, and it never had one.
                with suppress(Exception):
                    await (await self._setup_channel()).queue_delete(name, nowait=True)
                raise
            return queue

    async def bind(self, queue: ConsumedQueue, stream: Stream) -> None:
        """Let the stream's events into the queue."""
        async with self._turn:
            await self._set_up((await self._setup_channel()).queue_bind(queue.name, EXCHANGE, stream))

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
