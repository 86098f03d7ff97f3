"""Measures how late the node's event loop does what is due (docs/health.md)."""

import asyncio
from typing import Final

from .. import metrics

EVERY_SECS: Final = 0.25


class LoopLag:
    """A timer that notes its own delay: by so much every frame of this node is late."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle

    def start(self) -> None:
        """Measure in the running loop until `close`."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(EVERY_SECS, self._measure, loop.time() + EVERY_SECS)

    def close(self) -> None:
        """Measure no more."""
        self._timer.cancel()

    def _measure(self, due: float) -> None:
        # A timer may be early by the resolution of the clock.
        metrics.LOOP_LAG_SECS.observe(max(0.0, asyncio.get_running_loop().time() - due))
        self.start()
