"""A browser tab without a browser: one raw WebSocket that speaks either dialect (docs/stack.md).

Written against docs/protocol.md and not against the server's code: what both got wrong alike would not be found.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

Dialect = Literal["seed", "v1"]
Frame = dict[str, Any]
# {stream: {epoch, seq}}
Cursors = dict[str, dict[str, Any]]

HEARTBEAT = "<3"
# docs/protocol.md: everything else is an application's event.
CONTROL_IDS = frozenset(
    ["AUTH REQUEST", "AUTH OK", "AUTH FAILED", "SUBSCRIBED", "UNSUBSCRIBED", "GAP", "RECONNECT", "ERROR"]
)
_DEADLINE_SECS = 10.0


class Tab:
    """One socket and everything that came over it.

    Attributes:
        texts: every text frame as it came, heartbeats included.
        events: the application's events.
        control: the protocol's frames.
        auth_ok: the first AUTH OK, None before it.
        cursors: where a page that applies each event as it comes stands in each of its streams.
        acks: whether a v1 tab acknowledges, after each event.
    """

    def __init__(
        self,
        socket: ClientConnection,
        token: str | Callable[[], str],
        dialect: Dialect,
        topics: tuple[str, ...],
        since: Cursors | None,
    ):
        self.texts: list[str] = []
        self.events: list[Frame] = []
        self.control: list[Frame] = []
        self.auth_ok: Frame | None = None
        self.cursors: Cursors = {}
        self.acks = True
        self._since = since
        self._failure: AssertionError | None = None
        self.echoes = True
        self._socket = socket
        self._token = token
        self._dialect = dialect
        self._topics = topics
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls,
        url: str,
        token: str | Callable[[], str] = "",
        *,
        dialect: Dialect = "v1",
        origin: str | None = "same",
        topics: Iterable[str] = (),
        since: Cursors | None = None,
        headers: dict[str, str] | None = None,
    ) -> "Tab":
        """Open a socket and answer every AUTH REQUEST with a token; don't wait for what comes of it.

        `token` may be a function, called for each request in a thread; with an empty token nothing is answered.
        `origin` "same" is that of a page of the same host; None sends no Origin header.
        """
        if origin == "same":
            origin = f"{'https' if url.startswith('wss') else 'http'}://{urlsplit(url).netloc}"
        socket = await connect(
            url,
            origin=None if origin is None else Origin(origin),
            subprotocols=[Subprotocol("realtime.v1")] if dialect == "v1" else None,
            additional_headers=headers,
            open_timeout=_DEADLINE_SECS,
            close_timeout=2,
            # The protocol's own heartbeat is under test, not that of the WebSocket library.
            ping_interval=None,
            compression=None,
            max_size=2**20,
            proxy=None,
        )
        return cls(socket, token, dialect, tuple(topics), since)

    @classmethod
    async def open(
        cls,
        url: str,
        token: str | Callable[[], str],
        *,
        dialect: Dialect = "v1",
        origin: str | None = "same",
        topics: Iterable[str] = (),
        since: Cursors | None = None,
        headers: dict[str, str] | None = None,
        deadline_secs: float = _DEADLINE_SECS,
    ) -> "Tab":
        """`connect`, and wait for AUTH OK. Raises `AssertionError` when the socket is closed instead."""
        tab = await cls.connect(url, token, dialect=dialect, origin=origin, topics=topics, since=since, headers=headers)
        try:
            await tab.wait_until(lambda: tab.auth_ok, deadline_secs, "AUTH OK")
        except BaseException:
            await tab.close()
            raise
        return tab

    # Waiting

    async def wait_until(
        self, condition: Callable[[], Any], deadline_secs: float = _DEADLINE_SECS, what: str = "condition"
    ) -> Any:
        """Wait until `condition` is true after some frame; its result. `AssertionError` with all that came, if not."""
        try:
            async with asyncio.timeout(deadline_secs), self._news:
                while not (result := condition()):
                    if self.closed:
                        reason = self._failure or f"closed {self.close_code}"
                        raise AssertionError(f"{reason} before {what}; came: {self.texts[-20:]}")
                    await self._news.wait()
                return result
        except TimeoutError:
            raise AssertionError(f"not within {deadline_secs:g} s: {what}; came: {self.texts[-20:]}") from None

    async def wait_for_event(
        self, wanted: str | Callable[[Frame], Any], deadline_secs: float = _DEADLINE_SECS
    ) -> Frame:
        """The first event with the id `wanted` or for which `wanted` is true, also one that came earlier."""
        return await self._wait_for(self.events, wanted, deadline_secs, "event")

    async def wait_for_events(self, count: int, deadline_secs: float = _DEADLINE_SECS) -> list[Frame]:
        """The first `count` events."""
        await self.wait_until(
            lambda: len(self.events) >= count, deadline_secs, f"{count} events ({len(self.events)} came)"
        )
        return self.events[:count]

    async def wait_for_control(
        self, wanted: str | Callable[[Frame], Any], deadline_secs: float = _DEADLINE_SECS
    ) -> Frame:
        """The same for the protocol's frames."""
        return await self._wait_for(self.control, wanted, deadline_secs, "frame")

    async def wait_closed(self, deadline_secs: float = _DEADLINE_SECS) -> int:
        """Wait until the server has closed the socket; the close code (1006: without one)."""
        try:
            async with asyncio.timeout(deadline_secs):
                await self._socket.wait_closed()
        except TimeoutError:
            raise AssertionError(f"still open after {deadline_secs:g} s; came: {self.texts[-20:]}") from None
        assert self.close_code is not None
        return self.close_code

    # Doing

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send an object as JSON, a text or bytes as they are."""
        await self._socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def subscribe(
        self, topic: str, *, since: dict[str, Any] | None = None, deadline_secs: float = _DEADLINE_SECS
    ) -> Frame:
        """Subscribe to a topic and return the data of the answer."""
        data = {"topic": topic, "ref": topic} | ({} if since is None else {"since": since})
        await self.send({"id": "SUBSCRIBE", "data": data})
        answer = await self.wait_for_control(
            lambda frame: frame["id"] in ("SUBSCRIBED", "ERROR") and frame["data"].get("ref") == topic, deadline_secs
        )
        told: Frame = answer["data"]
        return told

    def verdict(self, stream: str) -> Frame:
        """What AUTH OK said of a stream."""
        assert self.auth_ok is not None
        told: Frame = self.auth_ok["data"]["streams"][stream]
        return told

    def seqs(self, stream: str) -> list[int]:
        """The numbers of the stream's durable events, in the order in which they came."""
        return [event["seq"] for event in self.events if event.get("stream") == stream and "seq" in event]

    async def close(self, code: int = 1000) -> None:
        """Close the socket as a page does that goes away."""
        await self._socket.close(code)
        await asyncio.wait([self._reader])

    def drop(self) -> None:
        """Lose the connection without a word."""
        self._socket.transport.abort()

    @property
    def closed(self) -> bool:
        """Whether the socket is closed and every frame was read."""
        return self._reader.done()

    @property
    def close_code(self) -> int | None:
        """Why it was closed; None while it is open."""
        return self._socket.close_code

    @property
    def subprotocol(self) -> str | None:
        """What the server chose of what we offered."""
        return self._socket.subprotocol

    @property
    def ids(self) -> list[str]:
        """The ids of the events, in the order in which they came."""
        return [event["id"] for event in self.events]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Inside

    async def _wait_for(
        self, frames: list[Frame], wanted: str | Callable[[Frame], Any], deadline_secs: float, kind: str
    ) -> Frame:
        matches = (lambda frame: frame["id"] == wanted) if isinstance(wanted, str) else wanted
        found: Frame = await self.wait_until(
            lambda: next((frame for frame in frames if matches(frame)), None), deadline_secs, f"{kind} {wanted}"
        )
        return found

    async def _read(self) -> None:
        try:
            with suppress(ConnectionClosed):
                while True:
                    message = await self._socket.recv()
                    await self._received(message if isinstance(message, str) else message.decode())
                    await self._tell()
        except AssertionError as error:
            # No token was to be had: the tab is of no use any more, and whoever waits is told why.
            self._failure = error
            await self._socket.close()
        finally:
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _received(self, text: str) -> None:
        self.texts.append(text)
        if text == HEARTBEAT:
            if self._dialect == "v1" and self.echoes:
                await self.send(HEARTBEAT)
            return
        frame: Frame = json.loads(text)
        if frame["id"] not in CONTROL_IDS:
            self.events.append(frame)
            if "seq" in frame and self._dialect == "v1":
                self.cursors[frame["stream"]]["seq"] = frame["seq"]
            if self.acks and self._dialect == "v1":
                await self.send({"id": "ACK", "data": {"n": len(self.events)}})
            return
        self.control.append(frame)
        if frame["id"] == "AUTH OK":
            if self.auth_ok is None:
                self.auth_ok = frame
            for stream, told in frame["data"].get("streams", {}).items() if "data" in frame else ():
                self._begin(stream, told)
        elif frame["id"] == "SUBSCRIBED":
            self._begin(frame["data"]["stream"], frame["data"])
        elif frame["id"] == "GAP":
            self._begin(frame["data"]["stream"], frame["data"] | {"replay": 0})
        elif frame["id"] == "AUTH REQUEST":
            await self._authenticate()

    def _begin(self, stream: str, told: Frame) -> None:
        if told.get("state") != "denied":
            self.cursors[stream] = {"epoch": told["epoch"], "seq": told["seq"] - told["replay"]}

    async def _authenticate(self) -> None:
        token = await asyncio.to_thread(self._token) if callable(self._token) else self._token
        if not token:
            return
        if self._dialect == "seed":
            await self.send(token)
        elif self.auth_ok is None:
            data = {"token": token, "topics": list(self._topics)}
            await self.send({"id": "AUTH", "data": data if self._since is None else data | {"since": self._since}})
        else:
            await self.send({"id": "AUTH", "data": {"token": token}})
