"""One AMQP connection of a node, from connecting to its first fault (docs/brokers.md).

aio-pika's robust mode is not used: it is known to stall after a consumer cancel and to miss a silent peer. A link is
never repaired; the listener throws it away and builds the next one.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from .deliveries import Delivery, OnDelivery, TappedTransport
from .topology import EXCHANGE, EXCHANGE_TYPE, with_query

CONNECT_TIMEOUT_SECS: Final = 5.0
# Every call on a channel; longer than a busy broker takes, and its timeout closes the channel.
RPC_TIMEOUT_SECS: Final = 10.0
# So many times that more, as long as events come.
_PATIENCE: Final = 11
CLOSE_TIMEOUT_SECS: Final = 3.0


class Link:
    """A connection with its watchdog.

    Attributes:
        lost: done, with the reason as text, at the first fault of the connection. Nothing is delivered after it.
    """

    def __init__(self, connection: AbstractConnection, heartbeat_secs: int, on_delivery: OnDelivery) -> None:
        self._connection = connection
        self._transport = TappedTransport(self._delivered)
        self._heartbeat_secs = heartbeat_secs
        self._on_delivery = on_delivery
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # So many have come.
        self._deliveries = 0
        connection.close_callbacks.add(self._connection_closed)
        self._watchdog: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str, *, heartbeat_secs: int, name: str, on_delivery: OnDelivery) -> "Link":
        """Connect and declare the exchange; deliveries of all queues go to `on_delivery`.

        Raises:
            OSError, TimeoutError, aiormq.exceptions.AMQPError: the broker cannot be had now.
        """
        # Not aio_pika.connect(): where it fails it leaves an object behind that closes itself when it is collected, in
        # whatever thread that happens.
        connection = aio_pika.Connection(URL(with_query(url, heartbeat=heartbeat_secs, name=name)))
        link = cls(connection, heartbeat_secs, on_delivery)
        connection.kwargs["transport_factory"] = link._transport
        try:
            await connection.connect(timeout=CONNECT_TIMEOUT_SECS)
            async with asyncio.timeout(CONNECT_TIMEOUT_SECS):
                probe = await link.channel()
                await link._ensure_exchange(probe)
        except BaseException:
            await link.close()
            raise
        link._watchdog = asyncio.create_task(link._watch())
        return link

    async def channel(self) -> AbstractChannel:
        """A new channel without confirms: this connection never publishes."""
        channel = self._connection.channel(publisher_confirms=False)
        await channel.initialize(timeout=RPC_TIMEOUT_SECS)
        return channel

    async def answer(self, call: Coroutine[Any, Any, Any]) -> None:
        """Wait for the broker's answer to a call on a channel.

        It comes behind the deliveries that were under way, and a node that is busy with them finds it late: as long as
        they come, it is not overdue. A call that is given up takes its channel along.

        Raises:
            TimeoutError: the broker does not answer.
            aiormq.exceptions.AMQPError: it refuses.
        """
        # Not aiormq's own `timeout`: on Python 3.11 it lets the loop turn between looking whether the channel is open
        # and sending. A refusal in that turn closes the channel, and what is then sent on it ends the connection.
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look(before: int, more: int) -> None:
            nonlocal timer
            if more and self._deliveries != before:
                timer = loop.call_later(RPC_TIMEOUT_SECS, look, self._deliveries, more - 1)
            else:
                deadline.reschedule(loop.time())

        async with asyncio.timeout(None) as deadline:
            timer = loop.call_later(RPC_TIMEOUT_SECS, look, self._deliveries, _PATIENCE)
            try:
                await call
            finally:
                timer.cancel()

    def break_off(self, reason: str) -> None:
        """Declare the link lost; the first reason stands."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        """Let go of the connection, with a peer that may be dead."""
        self.break_off("closed")
        if self._watchdog is not None:
            self._watchdog.cancel()
        with suppress(Exception):
            await asyncio.wait_for(self._connection.close(), CLOSE_TIMEOUT_SECS)
        self._transport.abort()

    async def _ensure_exchange(self, channel: AbstractChannel) -> None:
        try:
            await channel.declare_exchange(EXCHANGE, EXCHANGE_TYPE, durable=True, timeout=RPC_TIMEOUT_SECS)
        except aiormq.exceptions.ChannelAccessRefused:
            # A user that may not create it can still use the one that the operator made.
            passive = await self.channel()
            await passive.declare_exchange(EXCHANGE, passive=True, timeout=RPC_TIMEOUT_SECS)
            await passive.close()

    async def _watch(self) -> None:
        """Ask the broker for a sign of life, and for the exchange, twice a heartbeat.

        aiormq notices a silent peer after 3 heartbeats; a question with a deadline knows after one and a half. A
        deleted exchange is found the same way, as its bindings went with it. Events that come are a sign of life, too:
        a node that is busy with them finds the answer late.
        """
        channel: AbstractChannel | None = None
        try:
            while True:
                await asyncio.sleep(self._heartbeat_secs / 2)
                before = self._deliveries
                try:
                    async with asyncio.timeout(self._heartbeat_secs):
                        channel = channel or await self.channel()
                        await channel.declare_exchange(EXCHANGE, passive=True)
                except TimeoutError:
                    if self._deliveries == before:
                        raise
                    # The call that was given up has taken its channel along.
                    channel = None
        except TimeoutError:
            self.break_off(f"no answer within {self._heartbeat_secs} s")
        except aiormq.exceptions.ChannelNotFoundEntity:
            self.break_off(f"the exchange {EXCHANGE} is gone")
        except Exception as error:
            self.break_off(describe(error))

    def _delivered(self, delivery: Delivery) -> None:
        # A link that is lost may still be heard of, beside the next one.
        if not self.lost.done():
            self._deliveries += 1
            self._on_delivery(delivery)

    def _connection_closed(self, sender: Any, error: BaseException | None = None) -> None:
        self.break_off(describe(error) if error else "closed")


def describe(error: BaseException) -> str:
    """One line for a log and for the health check."""
    text = " ".join(str(error).split()) or "no details"
    return f"{type(error).__name__}: {text[:200]}"
