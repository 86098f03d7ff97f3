"""One AMQP connection of a node, from connecting to its first fault (docs/brokers.md).

aio-pika's robust mode is not used: it is known to stall after a consumer cancel and to miss a silent peer. A link is
never repaired; the listener throws it away and builds the next one.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from .deliveries import OnDelivery, TappedTransport
from .topology import EXCHANGE, EXCHANGE_TYPE, with_query

CONNECT_TIMEOUT_SECS: Final = 5.0
# Every call on a channel; longer than a busy broker takes, and its timeout closes the channel.
RPC_TIMEOUT_SECS: Final = 10.0
CLOSE_TIMEOUT_SECS: Final = 3.0


class Link:
    """A connection with its watchdog.

    Attributes:
        lost: done, with the reason as text, at the first fault of the connection.
        heard: set by whoever gets an event from it.
    """

    def __init__(self, connection: AbstractConnection, transport: TappedTransport, heartbeat_secs: int) -> None:
        self._connection = connection
        self._transport = transport
        self._heartbeat_secs = heartbeat_secs
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.heard = False
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
        transport = connection.kwargs["transport_factory"] = TappedTransport(on_delivery)
        try:
            await connection.connect(timeout=CONNECT_TIMEOUT_SECS)
        except BaseException:
            await connection.close()
            transport.abort()
            raise
        link = cls(connection, transport, heartbeat_secs)
        try:
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
                self.heard = False
                try:
                    async with asyncio.timeout(self._heartbeat_secs):
                        channel = channel or await self.channel()
                        await channel.declare_exchange(EXCHANGE, passive=True)
                except TimeoutError:
                    if not self.heard:
                        raise
                    # The call that was given up has taken its channel along.
                    channel = None
        except TimeoutError:
            self.break_off(f"no answer within {self._heartbeat_secs} s")
        except aiormq.exceptions.ChannelNotFoundEntity:
            self.break_off(f"the exchange {EXCHANGE} is gone")
        except Exception as error:
            self.break_off(describe(error))

    def _connection_closed(self, sender: Any, error: BaseException | None = None) -> None:
        self.break_off(describe(error) if error else "closed")


def describe(error: BaseException) -> str:
    """One line for a log and for the health check."""
    text = " ".join(str(error).split()) or "no details"
    return f"{type(error).__name__}: {text[:200]}"
