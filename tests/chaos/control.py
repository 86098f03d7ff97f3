"""The control: hears the same exchange without dedup and without repair (docs/chaos.md).

It is what a site would have that hands the broker's messages on as they come. The judge must find losses and copies
here, or it would not see them elsewhere.
"""

import asyncio
import time
from contextlib import suppress

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import AMQPError

from tests.chaos.records import Applied, Cursor, Diary, Verdict

_EXCHANGE = "realtime.events"
_HEARTBEAT_SECS = 2
_RETRY_SECS = 0.5


class RawListener:
    """Writes down every durable message of the exchange, in a queue of its own that dies with its connection."""

    def __init__(self, url: str, streams: tuple[str, ...]) -> None:
        # From here on everything is owed: epoch and seq of the first event are not known yet.
        self.diary = Diary("the control", streams)
        self._url = f"{url}?heartbeat={_HEARTBEAT_SECS}"
        self._connected = asyncio.Event()
        self._task = asyncio.create_task(self._live())

    async def wait_connected(self) -> None:
        """Wait until it has its queue."""
        await self._connected.wait()

    def begin(self, heads: dict[str, Cursor]) -> None:
        """What comes after these heads is owed."""
        for stream in self.diary.streams:
            head = heads.get(stream, Cursor("", 0))
            self.diary.entries.append(Verdict(stream, "new", head, None, 0, "", time.time()))

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _live(self) -> None:
        while True:
            with suppress(OSError, TimeoutError, AMQPError):
                await self._connection()
            await asyncio.sleep(_RETRY_SECS)

    async def _connection(self) -> None:
        connection = aio_pika.Connection(self._url)  # type: ignore[arg-type]
        lost = asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        try:
            await connection.connect(timeout=5)
            channel = await connection.channel()
            queue = await channel.declare_queue(exclusive=True, auto_delete=True)
            await queue.bind(_EXCHANGE, "#")
            await queue.consume(self._take, no_ack=True)
            self._connected.set()
            await lost.wait()
        finally:
            with suppress(Exception):
                await asyncio.wait_for(connection.close(), 1)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        epoch, seq = message.headers.get("epoch"), message.headers.get("seq")
        if isinstance(seq, int):
            self.diary.entries.append(
                Applied(message.routing_key or "", str(epoch), seq, message.message_id or "", time.time())
            )
