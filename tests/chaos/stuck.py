"""Sockets that sign in, never read and never acknowledge (docs/chaos.md)."""

import asyncio
import time
from collections.abc import Callable
from typing import Self

from tests.services.rigs.site import Node
from tests.services.rigs.target import metrics, resident_mib
from tests.services.rigs.wire import Wire, frame, upgrade_headers

_TOO_SLOW = 'code="4002"'
# docs/protocol.md: who acknowledges nothing is left 30 s after it should have; looked at now and then.
_LEFT_SECS = 30 + 10
_POLL_SECS = 0.25


class StuckReaders:
    """So many sockets of one user on one node, half of them v1 and half seed.

    Attributes:
        grown_mib: by how much the node has grown at most since they came, as far as somebody has looked.
    """

    def __init__(self, node: Node, wires: list[Wire]) -> None:
        self._node = node
        self._pid = node.process.pid
        self._wires = wires
        self._since = time.monotonic()
        self._mib_before = resident_mib(node)
        self._closed_before = self._closed_now()
        self.grown_mib = 0.0

    @classmethod
    async def open(cls, node: Node, token: Callable[[], str], count: int) -> Self:
        """Sign them in and stop reading."""
        text = token()
        wires = await asyncio.gather(*(_stuck(node, text, v1=number % 2 == 0) for number in range(count)))
        return await asyncio.to_thread(cls, node, wires)

    @property
    def closed(self) -> int:
        """How many sockets the node has closed since then because they were too slow: its own word."""
        return self._closed_now() - self._closed_before

    def look(self) -> None:
        """Measure the node's memory once more."""
        self.grown_mib = max(self.grown_mib, resident_mib(self._node) - self._mib_before)

    async def ended(self) -> list[str]:
        """Wait until all of them should have been closed; returns what is wrong."""
        count = len(self._wires)
        while await asyncio.to_thread(lambda: self.closed) < count and time.monotonic() < self._since + _LEFT_SECS:
            await asyncio.sleep(_POLL_SECS)
        if self._node.process.pid != self._pid:
            return ["the node of the readers that never read was started anew before their time"]
        closed = await asyncio.to_thread(lambda: self.closed)
        wrong = [] if closed >= count else [f"{closed} of {count} readers that never read were closed with 4002"]
        for wire in self._wires:
            wire.read_again()
        left = await asyncio.gather(*(wire.ending(5.0) for wire in self._wires), return_exceptions=True)
        self.close()
        return wrong + [f"a reader that never read is still connected: {one!r}" for one in left if _is_open(one)]

    def close(self) -> None:
        """Drop what is left of them."""
        for wire in self._wires:
            wire.close()

    def _closed_now(self) -> int:
        return int(metrics(self._node, "realtime_closes_total").get(_TOO_SLOW, 0))


async def _stuck(node: Node, token: str, *, v1: bool) -> Wire:
    wire = await Wire.open(node.port, upgrade_headers(node.port, v1=v1))
    await wire.text()  # AUTH REQUEST
    await wire.send(frame(token.encode()))
    await wire.text()  # AUTH OK
    wire.stop_reading()
    return wire


def _is_open(ending: object) -> bool:
    return isinstance(ending, BaseException)
