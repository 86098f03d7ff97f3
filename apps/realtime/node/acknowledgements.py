"""Collects what the sockets of a node acknowledge, and writes it down now and then (docs/unseen.md)."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from ..core.names import Stream
from ..core.resume import Cursor
from ..unseen.acknowledged import write_acknowledged
from .database import Database, Outage

logger = logging.getLogger(__name__)

# Of one statement; SQLite takes a limited number of parameters.
STREAMS_A_WRITE: Final = 500
# At the end; users whose last acknowledgement is lost may be told of something twice.
CLOSE_SECS: Final = 1.0


class Acknowledgements:
    """Those of one event loop."""

    def __init__(self, database: Database, *, write_every_secs: float) -> None:
        self._database = database
        self._write_every_secs = write_every_secs
        # The highest of each stream since the last writing.
        self._noted: dict[Stream, Cursor] = {}
        self._outage = Outage(logger, "Acknowledgements cannot be written down")
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None]

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._run())

    def note(self, stream: Stream, cursor: Cursor) -> None:
        """A socket has everything of the stream up to here."""
        noted = self._noted.get(stream)
        if noted is None or noted.epoch != cursor.epoch or noted.seq < cursor.seq:
            self._noted[stream] = cursor

    async def close(self) -> None:
        """Write the last ones and end."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECS):
                await self._task

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._write_every_secs):
                    await self._closing.wait()
            await self._write()
            if self._closing.is_set():
                return

    async def _write(self) -> None:
        noted, self._noted = self._noted, {}
        streams = list(noted)
        for start in range(0, len(streams), STREAMS_A_WRITE):
            part = streams[start : start + STREAMS_A_WRITE]
            try:
                await self._database.ask(write_acknowledged, {stream: noted[stream] for stream in part})
            except Exception as error:
                self._outage.goes_on(error)
                # What came meanwhile is newer.
                newer, self._noted = self._noted, {stream: noted[stream] for stream in streams[start:]}
                for stream, cursor in newer.items():
                    self.note(stream, cursor)
                return
        self._outage.is_over()
