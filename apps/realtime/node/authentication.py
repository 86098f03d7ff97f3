"""Verifies the tokens of many sockets together: one hop to a thread and two queries for all (docs/node.md)."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from ..core.session import Identity
from . import identity
from .database import TIMEOUT_SECS, Database, copied

# Tokens of one batch: as many as are checked and looked up in a few milliseconds.
BATCH_TOKENS: Final = 100
# Batches at a time: one connection that hangs must not hold up everybody, and threads are left for other questions.
BATCHES: Final = 2

_Waiting = tuple[str, asyncio.Future[Identity]]


class Authentication:
    """The tokens of the sockets of one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._runners: set[asyncio.Task[None] | None] = set()

    async def identify(self, token: str) -> Identity:
        """Whom the token speaks for, by a reading of the database that begins after the call.

        Raises:
            TokenRefused: it opens nothing.
            django.db.Error, TimeoutError: no verdict is possible.
        """
        waiter: asyncio.Future[Identity] = asyncio.get_running_loop().create_future()
        self._waiting.append((token, waiter))
        if len(self._runners) < BATCHES:
            # It begins in the loop's next turn, when all tokens of this one are there.
            self._runners.add(asyncio.create_task(self._run()))
        # The wait for a batch to begin counts as well.
        async with asyncio.timeout(TIMEOUT_SECS):
            return await waiter

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                await self._answer(batch)
        finally:
            # At once: whoever comes from now on needs another runner.
            self._runners.discard(asyncio.current_task())

    def _next_batch(self) -> list[_Waiting]:
        """Who still waits, oldest first."""
        waiting = [one for one in self._waiting if not one[1].done()]
        self._waiting = waiting[BATCH_TOKENS:]
        return waiting[:BATCH_TOKENS]

    async def _answer(self, batch: list[_Waiting]) -> None:
        answers: Sequence[Identity | Exception]
        try:
            answers = await self._database.ask(identity.identify, [token for token, _ in batch], time.time())
        except Exception as error:
            answers = [copied(error) for _ in batch]
        except asyncio.CancelledError:
            for _, waiter in batch:
                waiter.cancel()
            raise
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if waiter.done():
                continue  # the socket is gone
            if isinstance(answer, Identity):
                waiter.set_result(answer)
            else:
                waiter.set_exception(answer)
