"""Compares the heads of a node's open streams with the database, again and again (docs/history.md).

The last event of a stream has no successor that would reveal its loss. And while the link to the broker is down, this
is how events arrive.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from django.db import Error

from .. import history
from ..core.names import Stream
from ..core.parts import parts
from ..core.resume import Cursor, Head
from .history import HistoryReader

logger = logging.getLogger(__name__)

# protocol.md, section 2: a change is noted before its commit, and a numbering transaction is ended after some seconds.
OVERLAP_SECS: Final = 60.0
# For what even that does not find.
FULL_EVERY_SECS: Final = 600.0
# How often a broken link is noticed, changes are read while it is down, and what failed is tried again.
TICK_SECS: Final = 2.0


class HeadChecks:
    """The head checks of one event loop.

    Args:
        reader: answers within the limits of all of the node's reads.
        streams: which are open now.
        position: where a stream stands for the node. It is asked when the reading of a head begins.
        observe: told each head that was read, and that position. The stream may have been released by then.
        link_down: whether the broker cannot be heard, or the database has failed us somewhere else.
        every_secs: how often what changed is read while the broker can be heard.
    """

    def __init__(
        self,
        reader: HistoryReader,
        *,
        streams: Callable[[], Collection[Stream]],
        position: Callable[[Stream], Cursor],
        observe: Callable[[Stream, Head, Cursor], None],
        link_down: Callable[[], bool],
        every_secs: float,
        overlap_secs: float = OVERLAP_SECS,
        full_every_secs: float = FULL_EVERY_SECS,
        tick_secs: float = TICK_SECS,
    ) -> None:
        self._reader = reader
        self._streams = streams
        self._position = position
        self._observe = observe
        self._link_down = link_down
        self._every_secs = every_secs
        self._overlap_secs = overlap_secs
        self._full_every_secs = full_every_secs
        self._tick_secs = min(tick_secs, every_secs)
        # To be read whether they changed or not.
        self._due: set[Stream] = set()
        self._wake = asyncio.Event()
        self._failing = False
        self._changes_read_at = 0.0
        self._all_due_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Check no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def reopened(self, streams: Collection[Stream] | None) -> None:
        """The feeds of these streams (None: of all that are open) were interrupted: read their heads at once."""
        self._due.update(self._streams() if streams is None else streams)
        self._wake.set()

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time()
        self._changes_read_at = now
        self._all_due_at = now + self._full_every_secs
        while True:
            try:
                async with asyncio.timeout(self._tick_secs):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._check()
            except Exception as error:
                self._failed(error)
            else:
                self._succeeded()

    async def _check(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._all_due_at:
            self._due.update(self._streams())
            self._all_due_at = loop.time() + self._full_every_secs
        due, self._due = self._due, set()
        try:
            await self._read(due)
        except BaseException:
            self._due |= due
            raise
        now = loop.time()
        since_secs = now - self._changes_read_at
        if since_secs >= (self._tick_secs if self._link_down() else self._every_secs):
            # After a failure the last success is longer ago, and so more is read.
            await self._read(self._streams(), changed_within_secs=since_secs + self._overlap_secs)
            self._changes_read_at = now

    async def _read(self, streams: Collection[Stream], changed_within_secs: float | None = None) -> None:
        for chunk in parts(list(streams), history.NAMES_MAX):
            positions = {name: self._position(name) for name in chunk}
            heads = await self._reader.heads(chunk, changed_within_secs=changed_within_secs)
            for name, head in heads.items():
                try:
                    self._observe(name, head, positions[name])
                except Exception:  # a mistake of ours with one stream is none of the others' business
                    logger.exception("The head of %s is not compared", name)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            mistake = None if isinstance(error, Error | TimeoutError) else error
            logger.warning("Heads cannot be compared with the database: %r", error, exc_info=mistake)

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = False
            logger.warning("Heads are compared with the database again")
