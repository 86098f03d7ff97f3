"""A browser tab that keeps its place in every stream, without a browser (docs/chaos.md).

Written against docs/protocol.md and not against the server's code or its browser client: what two of them got wrong
alike would not be found. It tells nothing of what it thinks is right: it writes a diary, and the judge reads that.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Origin, Subprotocol

from tests.chaos.records import Applied, Cursor, Diary, Verdict

# docs/protocol.md, "realtime.v1": an ack is due after 64 events or 5 s; large ones fill the window of 1 MiB before.
_ACK_EVENTS = 64
_ACK_CHARS = 128 * 1024
_ACK_SECS = 2.0
# A frozen server accepts and says nothing: then another one is tried.
_OPEN_SECS = 5.0
_AUTH_SECS = 10.0
_FIRST_BACKOFF_SECS = 0.25
_LONGEST_BACKOFF_SECS = 2.0
_HEARTBEAT = "<3"
_CONTROL = frozenset(
    ["AUTH REQUEST", "AUTH OK", "AUTH FAILED", "SUBSCRIBED", "UNSUBSCRIBED", "GAP", "RECONNECT", "ERROR"]
)


class Tab:
    """One tab of one user. It reconnects for ever, to an address that `choose` names anew each time.
    `sessions` counts how often it came online.

    With `careful=False` it is the tab of a product that does not resume: it applies whatever comes and keeps no cursor.
    """

    def __init__(
        self,
        diary: Diary,
        choose: Callable[[], str],
        token: Callable[[], str],
        topics: Sequence[str],
        *,
        careful: bool = True,
    ) -> None:
        self.diary = diary
        self.cursors: dict[str, Cursor] = {}
        self.online = False
        self.sessions = 0
        self.url = ""
        self._choose = choose
        self._token = token
        self._topics = list(topics)
        self._careful = careful
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._socket: ClientConnection | None = None
        # Announced streams of this connection: their epochs.
        self._epochs: dict[str, str] = {}
        self._sent_since: dict[str, Cursor] = {}
        self._received = 0
        self._acked = 0
        self._unacked_chars = 0
        self._after_secs: float | None = None
        self._backoff_secs = _FIRST_BACKOFF_SECS
        self._task = asyncio.create_task(self._live())

    @property
    def is_away(self) -> bool:
        """Whether somebody closed the lid."""
        return not self._wanted.is_set()

    def move(self, choose: Callable[[], str]) -> None:
        """Go to another address from the next connection on."""
        self._choose = choose

    def leave(self) -> None:
        """Go away as a laptop does whose lid is closed, and stay away."""
        self._wanted.clear()
        self.drop()

    def drop(self) -> None:
        """Lose the connection; it comes back by itself."""
        if self._socket is not None:
            self._socket.transport.abort()

    def come_back(self) -> None:
        """Open the lid."""
        self._wanted.set()

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def is_at(self, heads: dict[str, Cursor]) -> bool:
        """Whether it has applied everything up to these heads."""
        return all(
            self.cursors.get(stream) == heads.get(stream, self.cursors.get(stream)) for stream in self.diary.streams
        )

    async def _live(self) -> None:
        while True:
            await self._wanted.wait()
            self._after_secs = None
            try:
                await self._connection()
            except (OSError, TimeoutError, WebSocketException):
                pass  # what a tab has to expect
            except Exception as error:
                self.diary.complaints.append(f"{self.diary.name} cannot read what came: {error!r}")
            self.online = False
            self._socket = None
            await asyncio.sleep(self._delay_secs())

    def _delay_secs(self) -> float:
        if self._after_secs is not None:
            return self._after_secs
        step, self._backoff_secs = self._backoff_secs, min(2 * self._backoff_secs, _LONGEST_BACKOFF_SECS)
        return step * random.uniform(0.5, 1)

    async def _connection(self) -> None:
        url = self.url = self._choose()
        async with connect(
            url,
            origin=Origin(f"http://{url.split('/')[2]}"),
            subprotocols=[Subprotocol("realtime.v1")],
            open_timeout=_OPEN_SECS,
            close_timeout=1,
            ping_interval=None,
            compression=None,
            proxy=None,
        ) as socket:
            self._socket = socket
            self._epochs = {}
            self._received = self._acked = self._unacked_chars = 0
            acks = asyncio.create_task(self._ack_in_time(socket))
            try:
                async with asyncio.timeout(_AUTH_SECS) as patience:
                    while True:
                        await self._take(socket, await socket.recv(decode=True))
                        if self.online:
                            patience.reschedule(None)
            except ConnectionClosed:
                code = socket.close_code or 0
                if 4500 <= code < 5000:
                    self.diary.complaints.append(f"{self.diary.name} was told to stop: {code}")
            finally:
                acks.cancel()

    async def _take(self, socket: ClientConnection, text: str) -> None:
        if text == _HEARTBEAT:
            await socket.send(_HEARTBEAT)
            return
        frame: dict[str, Any] = json.loads(text)
        if frame["id"] in _CONTROL:
            await self._control(socket, frame["id"], frame.get("data") or {})
            return
        self._received += 1
        self._unacked_chars += len(text)
        self._event(frame)
        if self._received - self._acked >= _ACK_EVENTS or self._unacked_chars >= _ACK_CHARS:
            await self._ack(socket)

    async def _control(self, socket: ClientConnection, kind: str, data: dict[str, Any]) -> None:
        if kind == "AUTH REQUEST":
            await self._authenticate(socket)
        elif kind == "AUTH OK":
            for stream, verdict in data["streams"].items():
                self._verdict(stream, verdict["state"], verdict)
            # A token is renewed on an open connection, too.
            self.sessions += not self.online
            self.online = True
            self._backoff_secs = _FIRST_BACKOFF_SECS
        elif kind == "GAP":
            self._verdict(data["stream"], "gap", data)
        elif kind == "RECONNECT":
            self._after_secs = data["after_ms"] / 1000
        elif data.get("code") != "going_down":
            self.diary.complaints.append(f"{self.diary.name} got {kind} {data}")

    async def _authenticate(self, socket: ClientConnection) -> None:
        answer: dict[str, Any] = {"token": self._token()}
        if not self.online:
            answer["topics"] = self._topics
            self._sent_since = dict(self.cursors) if self._careful else {}
            answer["since"] = {stream: cursor._asdict() for stream, cursor in self._sent_since.items()}
        await socket.send(json.dumps({"id": "AUTH", "data": answer}))

    def _verdict(self, stream: str, state: str, data: dict[str, Any]) -> None:
        if state == "denied":
            self.diary.complaints.append(f"{self.diary.name} was denied {stream}")
            return
        head = Cursor(data["epoch"], data["seq"])
        self._epochs[stream] = head.epoch
        self.diary.entries.append(
            Verdict(
                stream,
                state,
                head,
                self._sent_since.get(stream),
                data.get("replay") or 0,
                data.get("reason") or "",
                time.time(),
            )
        )
        if state != "recovered":
            self.cursors[stream] = head

    def _event(self, frame: dict[str, Any]) -> None:
        seq = frame.get("seq")
        if seq is None:
            return
        stream = frame["stream"]
        event = Applied(stream, self._epochs.get(stream, ""), seq, frame["mid"], time.time())
        cursor = self.cursors.get(stream)
        if self._careful:
            if stream not in self._epochs or cursor is None:
                self.diary.complaints.append(f"{self.diary.name} got {stream} seq {seq} before a word on the stream")
                return
            if seq <= cursor.seq:
                self.diary.dropped.append(event)
                return
            if seq > cursor.seq + 1:
                self.diary.complaints.append(f"{self.diary.name} at {stream} {cursor} got seq {seq}: a hole")
        self.cursors[stream] = Cursor(event.epoch, seq)
        self.diary.entries.append(event)

    async def _ack_in_time(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(_ACK_SECS)
                if self.online and self._received > self._acked:
                    await self._ack(socket)

    async def _ack(self, socket: ClientConnection) -> None:
        self._acked = self._received
        self._unacked_chars = 0
        await socket.send(json.dumps({"id": "ACK", "data": {"n": self._acked}}))
