"""A browser's socket without a network: it speaks ASGI to the application, as Daphne does (docs/node.md)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]

# Everything here happens within milliseconds; a test that waits this long has failed.
DEADLINE_SECS = 10.0


class Socket:
    """One socket; every wait has a deadline.

    Attributes:
        accepted: the `websocket.accept` message; None before.
        code: the close code; None while it is open.
    """

    def __init__(
        self,
        application: Application,
        *,
        v1: bool = True,
        path: str = "/websocket",
        origin: str | None = "http://testserver",
        host: str = "testserver",
        address: str | None = "192.0.2.1",
        headers: Sequence[tuple[bytes, bytes]] = (),
        subprotocols: Sequence[str] | None = None,
    ) -> None:
        own = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin is not None else [])]
        offered = (["realtime.v1"] if v1 else []) if subprotocols is None else list(subprotocols)
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": path,
            "headers": [*own, *headers],
            "subprotocols": offered,
            "client": None if address is None else [address, 5],
        }
        self.accepted: dict[str, Any] | None = None
        self.code: int | None = None
        self._application = application
        self._ended = asyncio.Event()
        self._to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> "Socket":
        """Begin; returns at once."""
        self._to_server.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(self._serve())
        return self

    async def text(self) -> str:
        """The next text frame."""
        async with asyncio.timeout(DEADLINE_SECS):
            text = await self._texts.get()
        assert text is not None, f"closed with {self.code}"
        return text

    async def frame(self) -> dict[str, Any]:
        """The next text frame, which is JSON."""
        frame = json.loads(await self.text())
        assert isinstance(frame, dict)
        return frame

    async def ids(self, count: int) -> list[str]:
        return [(await self.frame())["id"] for _ in range(count)]

    async def closed(self) -> tuple[list[str], int | None]:
        """The frames that still come, and the close code."""
        left = []
        async with asyncio.timeout(DEADLINE_SECS):
            while (text := await self._texts.get()) is not None:
                left.append(text)
            assert self._task is not None
            await self._task
        return left, self.code

    async def ended(self) -> int | None:
        """The close code, as soon as the server has closed."""
        async with asyncio.timeout(DEADLINE_SECS):
            await self._ended.wait()
        return self.code

    def say(self, frame: str | dict[str, Any]) -> None:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        self._to_server.put_nowait({"type": "websocket.receive", "text": text})

    def say_binary(self, raw: bytes) -> None:
        self._to_server.put_nowait({"type": "websocket.receive", "bytes": raw, "text": None})

    def hang_up(self) -> None:
        """The client is gone, without a word."""
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def leave(self) -> None:
        """Hang up and wait until the server has noticed."""
        self.hang_up()
        if self._task is not None:
            async with asyncio.timeout(DEADLINE_SECS):
                await self._task

    async def authenticate(
        self, token: str, topics: Sequence[str] = (), since: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """From the first AUTH REQUEST to AUTH OK, which is returned."""
        assert (await self.frame())["id"] == "AUTH REQUEST"
        v1 = "realtime.v1" in self.scope["subprotocols"]
        auth = {"token": token, "topics": list(topics), "since": since or {}}
        self.say({"id": "AUTH", "data": auth} if v1 else token)
        ok = await self.frame()
        assert ok["id"] == "AUTH OK", ok
        return ok

    async def _serve(self) -> None:
        try:
            await self._application(self.scope, self._to_server.get, self._send)
        finally:
            self._texts.put_nowait(None)

    async def _send(self, message: dict[str, Any]) -> None:
        assert self.code is None, f"{message} after the close"
        match message["type"]:
            case "websocket.accept":
                self.accepted = message
            case "websocket.send":
                self._texts.put_nowait(message["text"])
            case "websocket.close":
                self.code = message.get("code", 1000)
                self._ended.set()
                self._texts.put_nowait(None)
                self._to_server.put_nowait({"type": "websocket.disconnect", "code": self.code})
            case other:
                raise AssertionError(other)
