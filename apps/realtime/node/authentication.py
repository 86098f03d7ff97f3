"""Verifies the tokens of many sockets together: one hop to a thread and two queries for all (docs/node.md)."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from ..core.session import Identity
from . import identity
from .database import DatabaseThreads, copied

# Tokens of one batch: as many as are checked and looked up in a few milliseconds.
BATCH_TOKENS: Final = 100
# Batches at a time: one connection that hangs must not hold up everybody, and threads are left for other questions.
BATCHES: Final = 2


class Authentication:
    """The tokens of the sockets of one event loop."""

    def __init__(self, database: DatabaseThreads) -> None:
        self._database = database
        self._waiting: list[tuple[str, asyncio.Future[Identity]]] = []
        self._runners: set[asyncio.Task[None]] = set()

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
            runner = asyncio.create_task(self._run())
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)
        return await waiter

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_TOKENS], self._waiting[BATCH_TOKENS:]
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
