"""Starts the node with its process and drains it at the end (docs/node.md).

Daphne has no lifespan protocol and on SIGTERM drops every socket with 1006. So under Daphne the reactor is asked for
both moments; a server with lifespan (uvicorn) tells them itself. In between, systemd hears that the loop turns.
"""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..systemd import Systemd
from .node import Node

logger = logging.getLogger(__name__)

# Below supervisor's stopwaitsecs and systemd's TimeoutStopSec in ops/.
DRAIN_SECS: Final = 8.0


class Companion(Protocol):
    """What lives as long as the node does."""

    def start(self) -> None:
        """The node has started."""

    def close(self) -> None:
        """The node has ended; may take some seconds."""


class Lifetime:
    """The node of this process; made in its event loop, by whatever happens first there."""

    def __init__(self, make_node: Callable[[], Node], make_companion: Callable[[], Companion | None]) -> None:
        self._make_node = make_node
        self._make_companion = make_companion
        self._node: Node | None = None
        self._companion: Companion | None = None
        self._systemd = Systemd()
        reactor = sys.modules.get("twisted.internet.reactor")
        if reactor is not None:
            self._hook(reactor)

    def node(self) -> Node:
        """The node; to be called in the event loop that serves."""
        if self._node is None:
            self._node = self._make_node()
            self._companion = self._make_companion()
            if self._companion is not None:
                self._companion.start()
            self._systemd.ready()
            self._show_life()
        return self._node

    def _show_life(self) -> None:
        # From the loop itself, so that one that hangs falls silent and is restarted.
        self._systemd.alive()
        if self._systemd.ping_secs is not None:
            asyncio.get_running_loop().call_later(self._systemd.ping_secs, self._show_life)

    async def lifespan(self, receive: Any, send: Any) -> None:
        """The ASGI lifespan protocol."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.node()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._end()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _end(self) -> None:
        if self._node is not None:
            await self._node.drain(DRAIN_SECS)
            await self._node.close()
            if self._companion is not None:
                await asyncio.to_thread(self._companion.close)

    def _hook(self, reactor: Any) -> None:
        def start() -> None:
            self.node()
            # runserver serves in a thread that cannot have signals, and wants to be quick about a reload.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(drain))

        def drain() -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            logger.info("SIGTERM: sending clients away")
            task = asyncio.get_running_loop().create_task(self._end())
            task.add_done_callback(lambda _: reactor.stop())

        # The callbacks of "running" come before the event loop runs: one more turn.
        reactor.callWhenRunning(lambda: reactor.callLater(0, start))
