"""The server's side of a socket as Daphne has it: Twisted's own transport on a real pair of sockets (docs/node.md)."""

import socket
from functools import partial
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor


class _CountedSocket(socket.socket):
    writes = 0

    def send(self, *arguments: Any) -> int:
        self.writes += 1
        return super().send(*arguments)


class DaphneSocket:
    """Write with what `send` leads to; the other end reads.

    Attributes:
        messages: what took the way of ASGI.
        protocol: what autobahn's protocol shows.
    """

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair()
        self._ours = _CountedSocket(ours.family, ours.type, ours.proto, ours.detach())
        for end in (self._ours, self._theirs):
            end.setblocking(False)
        port: Any = SimpleNamespace(_realPortNumber=1)
        protocol: Any = SimpleNamespace()
        reactor: Any = MemoryReactor()  # type: ignore[no-untyped-call]
        self.transport: Any = Server(self._ours, protocol, ("127.0.0.1", 1), port, 0, reactor)
        self.protocol = SimpleNamespace(
            transport=self.transport, state=3, STATE_OPEN=3, _perMessageCompress=None, send_queue=[]
        )
        self.messages: list[dict[str, Any]] = []
        self.send = partial(self._handle_reply, self.protocol)

    async def _handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def received(self) -> bytes:
        """What the other end can read now; it does not come twice."""
        try:
            return self._theirs.recv(1024 * 1024)
        except BlockingIOError:
            return b""

    @property
    def writes(self) -> int:
        """Calls of the kernel so far."""
        return self._ours.writes

    @property
    def unsent(self) -> int:
        """What waits in Twisted's buffers."""
        return int(len(self.transport.dataBuffer) - self.transport.offset + self.transport._tempDataLen)

    def read_all(self) -> bytes:
        """All that the kernel holds."""
        parts = []
        while part := self.received:
            parts.append(part)
        return b"".join(parts)

    def flush(self) -> None:
        """What the reactor does when the kernel takes more."""
        self.transport.doWrite()

    def close_theirs(self) -> None:
        """The client goes without a word."""
        self._theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._theirs.close()
