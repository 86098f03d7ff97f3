"""A TCP proxy that breaks connections the ways a network does (docs/stack.md)."""

import asyncio
import random
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from ops.services.ports import LOOPBACK, free_port

_T = TypeVar("_T")
_CHUNK_BYTES = 65_536
# Linux sends a lost segment again after 0.2 s at the earliest, then after twice the time.
_FIRST_RESEND_SECS = 0.2
_RESENDS_MAX = 4


class TcpProxy:
    """Stands before a server on loopback; clients use `port`. Its thread of its own serves sync and async tests.

    It starts passing everything on. Each method changes that and returns when the change is in force.

    Attributes:
        accepted: connections so far.
        stalls: how often a piece of a lossy connection had to wait.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}", daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.accepted = 0
        self.stalls = 0
        # Of each connection, each way; None: no limit.
        self._bytes_per_sec: float | None = None
        self._loss = 0.0
        self._thread.start()
        self.restore()

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        self._wait(self._cut())

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, as a host without the server does."""
        self._wait(self._refuse())

    def black_hole(self) -> None:
        """Pass nothing on, in either direction, and say nothing of it: a cable pulled out.

        Connections, also new ones, stay open. What is sent meanwhile arrives after `restore`, as
        TCP's retransmissions would.
        """
        self._wait(self._hold())

    def half_open(self) -> None:
        """Pass nothing on of the connections that are open now, for ever; new ones are served: a NAT that forgot."""
        self._wait(self._forget())

    def slow_down(self, bytes_per_sec: float, loss: float) -> None:
        """Pass on so much of each connection, and let pieces wait as TCP does for those that get lost."""
        self._wait(self._slow_down(bytes_per_sec, loss))

    def restore(self) -> None:
        """Pass everything on again, at once, also what a black hole has held."""
        self._wait(self._restore())

    @property
    def connections(self) -> int:
        """How many client connections are open."""
        return len(self._writers) // 2

    def close(self) -> None:
        """End it with all connections."""
        if self._loop.is_closed():
            return
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # In the proxy's thread

    async def _cut(self) -> None:
        await self._all_accepted()
        self._abort()

    async def _hold(self) -> None:
        self._flowing.clear()

    async def _forget(self) -> None:
        await self._all_accepted()
        self._flowing.clear()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def _slow_down(self, bytes_per_sec: float, loss: float) -> None:
        self._bytes_per_sec, self._loss = bytes_per_sec, loss

    async def _restore(self) -> None:
        self._bytes_per_sec, self._loss = None, 0.0
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        await self._all_accepted()
        if server is not None:
            server.close()
        self._abort()
        if server is not None:
            await server.wait_closed()

    async def _end(self) -> None:
        await self._refuse()
        self._flowing.set()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        # While the server closed, more connections to the target may have opened; now nothing opens any.
        self._abort()

    async def _all_accepted(self) -> None:
        """Wait until every connection that the loop has taken is in `_writers`; to be asked before the server closes.

        The loop takes a connection in a task of its own, a few turns long, and only then calls `_accept`. Nobody would
        end what is between the two when the server closes.
        """
        await asyncio.sleep(0)
        while asyncio.all_tasks() - self._pumps - {asyncio.current_task()}:
            await asyncio.sleep(0)

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        # From the first moment on: a proxy that is closed while it connects must close this one too.
        self._writers.add(writer)
        flowing = self._flowing
        accepting = asyncio.current_task()
        assert accepting is not None
        self._pumps.add(accepting)
        accepting.add_done_callback(self._pumps.discard)
        try:
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        except (OSError, asyncio.CancelledError):
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(server_writer)
        for source, sink in ((reader, server_writer), (server_reader, writer)):
            pump = self._loop.create_task(self._pump(source, sink, flowing))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        try:
            while data := await source.read(_CHUNK_BYTES):
                await flowing.wait()
                if self._bytes_per_sec is not None:
                    await asyncio.sleep(len(data) / self._bytes_per_sec + self._stall_secs())
                sink.write(data)
                await sink.drain()
            # A hole swallows the end of a connection too.
            await flowing.wait()
            sink.close()
            await sink.wait_closed()
        except (OSError, asyncio.CancelledError):
            sink.transport.abort()
        finally:
            self._writers.discard(sink)

    def _stall_secs(self) -> float:
        secs, resend_secs = 0.0, _FIRST_RESEND_SECS
        for _ in range(_RESENDS_MAX):
            if random.random() >= self._loss:
                break
            self.stalls += 1
            secs, resend_secs = secs + resend_secs, 2 * resend_secs
        return secs

    def _wait(self, change: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(change, self._loop).result(timeout=10)
