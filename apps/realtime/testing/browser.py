"""A tab in the process: a client of `realtime.v1` without a network (docs/testing.md, docs/protocol.md)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, Self

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe

from ..core import codes
from ..core.names import topic_stream
from ..core.resume import Cursor, parse_cursor
from ..models import SignIn
from ..signin import password_digest
from ..tokens import issue_token
from .events import CapturedEvent, listed, shown
from .site import Site

Frame = dict[str, Any]

# On the loop's clock, for which nobody waits: until a node has filled a hole, or given up a client without a token.
COMES_WITHIN_SECS: Final = 15.0
# Until what is on its way has come.
QUIET_AFTER_SECS: Final = 1.0
# What the page is told of, though it is no event.
_TOLD: Final = (codes.GAP, codes.RECONNECT, codes.ERROR)
_IN_ASYNC_CODE: Final = "The tab of a test uses the database. In async code: `async with captured.browser(…) as tab`."


class Browser:
    """One tab of a signed-in user; it connects at the beginning of a `with` block and is closed at its end.

    It does what protocol.md asks of a client: it acknowledges, applies a durable event once, keeps a cursor for each
    stream and resumes there when it comes back.

    Attributes:
        user: who is signed in.
        streams: what the server has said of each stream: `state`, `seq`, `replay`, for topics `topic`.
        closed: the code that the server has closed the socket with; None while it is open.
    """

    def __init__(self, site: Site, user: Any, topics: Sequence[str], since: Mapping[str, Any] | None) -> None:
        self.user = user
        self.streams: dict[str, Frame] = {}
        self.closed: int | None = None
        self._site = site
        self._topics = list(topics)
        self._cursors = {stream: parse_cursor(cursor) for stream, cursor in (since or {}).items()}
        # Its sign-in: a new tab of a browser that has just signed in.
        self._mark = token_hex(16)
        self._password = password_digest(user)
        self._frames: list[Frame] = []
        self._unread: list[Frame] = []
        # What SUBSCRIBE and UNSUBSCRIBE were answered.
        self._answers: list[Frame] = []
        # Event frames of this connection.
        self._received = 0
        # Of this connection; set by `_connect`.
        self._to_server: asyncio.Queue[dict[str, Any]]
        self._task: asyncio.Task[None]

    @async_unsafe(_IN_ASYNC_CODE)
    def __enter__(self) -> Self:
        SignIn.touch(self._mark, str(self.user.pk), self._password)
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hang_up()

    async def __aenter__(self) -> "AsyncBrowser":
        await sync_to_async(self.__enter__)()
        return AsyncBrowser(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await sync_to_async(self._hang_up)()

    @property
    def frames(self) -> list[Frame]:
        """All events so far as `{id, data, stream, seq, …}`, and every GAP, RECONNECT and ERROR; oldest first."""
        self._let_come(QUIET_AFTER_SECS)
        return list(self._frames)

    @property
    def ids(self) -> list[str]:
        """The ids of `frames`."""
        return [frame["id"] for frame in self.frames]

    def receive(self, id: str | None = None) -> Frame:
        """The next of `frames` that was not received yet; the next with this id, where one is given.

        Raises:
            AssertionError: it does not come.
        """

        def came() -> Frame | None:
            return next((frame for frame in self._unread if id in (None, frame["id"])), None)

        self._let_come(COMES_WITHIN_SECS, until=lambda: came() is not None)
        frame = came()
        if frame is None:
            raise AssertionError(self._missing(id))
        self._unread.remove(frame)
        return frame

    def subscribe(self, topic: str) -> str:
        """Hear a topic from now on; returns what the server says: `new`, `recovered`, `gap` or `denied`."""
        cursor = self._cursors.get(topic_stream(topic))
        since = {} if cursor is None else {"since": cursor._asdict()}
        state = str(self._ask(codes.SUBSCRIBE, {"topic": topic, **since})["state"])
        if topic not in self._topics:
            self._topics.append(topic)
        return state

    def unsubscribe(self, topic: str) -> None:
        """Do not hear it any more."""
        self._ask(codes.UNSUBSCRIBE, {"topic": topic})

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Away, without a word to the server; at the end of the block it comes back and resumes."""
        self._hang_up()
        yield
        self._connect()

    # The connection ------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._to_server = asyncio.Queue()
        self._received = 0
        self.streams, self.closed = {}, None
        self._to_server.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/",
            # The host of Django's test client.
            "headers": [(b"host", b"testserver"), (b"origin", b"http://testserver")],
            "subprotocols": [codes.SUBPROTOCOL],
            # No address: the limits of one are none of a test's.
            "client": None,
        }
        self._task = self._site.steps.start(self._site.node.serve(scope, self._to_server.get, self._send))
        self._let_come(COMES_WITHIN_SECS, until=lambda: bool(self.streams) or self.closed is not None)
        if not self.streams:
            raise AssertionError(
                f"The server does not let {self._name} in: {self._reason()}\nThe tab got:\n{listed(self._shown())}"
            )

    def _hang_up(self) -> None:
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self._site.steps.run(until=self._task.done)

    @async_unsafe(_IN_ASYNC_CODE)
    def _let_come(self, secs: float, until: Callable[[], bool] | None = None) -> None:
        self._site.process.settle()
        self._site.steps.run(secs, until)
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    def _ask(self, frame_id: str, data: Frame) -> Frame:
        self._answers.clear()
        self._say({"id": frame_id, "data": data})
        self._let_come(COMES_WITHIN_SECS, until=lambda: bool(self._answers))
        if not self._answers:
            raise AssertionError(
                f"{frame_id} {shown(data)} got no answer: {self._reason()}\nThe tab got:\n{listed(self._shown())}"
            )
        return self._answers[0]

    def _say(self, frame: Frame) -> None:
        self._to_server.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            text = message["text"]
            if text == codes.HEARTBEAT:
                self._to_server.put_nowait({"type": "websocket.receive", "text": text})
            else:
                self._came(json.loads(text))
        elif message["type"] == "websocket.close":
            self.closed = message["code"]
            self._to_server.put_nowait({"type": "websocket.disconnect", "code": self.closed})

    # What comes ----------------------------------------------------------------------------------

    def _came(self, frame: Frame) -> None:
        data = frame["data"]
        match frame["id"]:
            case codes.AUTH_REQUEST:
                self._authenticate(data["reason"])
            case codes.AUTH_OK:
                self.streams.update(data["streams"])
                for stream, told in data["streams"].items():
                    self._announced(stream, told)
            case codes.SUBSCRIBED:
                self.streams[data["stream"]] = data
                self._announced(data["stream"], data)
                self._answers.append(data)
            case codes.UNSUBSCRIBED:
                self.streams.pop(topic_stream(data["topic"]), None)
                self._topics = [topic for topic in self._topics if topic != data["topic"]]
                self._answers.append(data)
            case codes.AUTH_FAILED:
                pass  # The next AUTH REQUEST says so, too.
            case told if told in _TOLD:
                if told == codes.GAP:
                    # What a page without a snapshot does.
                    self._cursors[data["stream"]] = Cursor(data["epoch"], data["seq"])
                self._keep(frame)
            case _:
                self._received += 1
                self._say({"id": codes.ACK, "data": {"n": self._received}})
                self._apply(frame)

    def _authenticate(self, reason: str) -> None:
        token = issue_token(
            user_id=str(self.user.pk),
            username=self.user.get_username(),
            mark=self._mark,
            password=self._password,
            now=time.time(),
        )
        auth: Frame = {"token": token.text}
        if reason != codes.AuthReason.EXPIRING:
            since = {stream: cursor._asdict() for stream, cursor in self._cursors.items()}
            auth |= {"topics": self._topics, "since": since}
        self._say({"id": codes.AUTH, "data": auth})

    def _announced(self, stream: str, told: Frame) -> None:
        if told["state"] != codes.StreamState.RECOVERED and told["epoch"] is not None:
            self._cursors[stream] = Cursor(told["epoch"], told["seq"])

    def _apply(self, frame: Frame) -> None:
        if "seq" in frame:
            stream, seq = frame["stream"], frame["seq"]
            cursor = self._cursors[stream]
            if seq <= cursor.seq:
                return
            assert seq == cursor.seq + 1, f"{stream}: {seq} came behind {cursor.seq}"
            self._cursors[stream] = cursor._replace(seq=seq)
        self._keep(frame)

    def _keep(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._unread.append(frame)

    # For who reads a failure ---------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"{self.user!r} (user.{self.user.pk})"

    def _missing(self, id: str | None) -> str:
        lines = [
            f"{'Nothing' if id is None else f'No {id}'} came to the tab of {self._name}.",
            f"The tab got{'' if len(self._unread) == len(self._frames) else ', including what was received before'}:",
            listed(self._shown()),
            "The test has sent:",
            listed(map(CapturedEvent.of, self._site.process.sent)),
            f"The tab hears {', '.join(self._heard()) or 'nothing'}.",
        ]
        return "\n".join(lines if self.closed is None else [*lines, self._reason()])

    def _heard(self) -> list[str]:
        return [
            stream if told["state"] != codes.StreamState.DENIED else f"not {stream}, which is denied"
            for stream, told in self.streams.items()
        ]

    def _shown(self) -> list[str]:
        return [f"{frame['id']} {shown(frame['data'])} {frame.get('stream', '')}".rstrip() for frame in self._frames]

    def _reason(self) -> str:
        if self.closed is None:
            return "the server is silent."
        return f"the socket was closed with {self.closed} ({codes.CloseCode(self.closed).name})."


class AsyncBrowser:
    """The same for async code; what `async with captured.browser(…)` gives."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @property
    def closed(self) -> int | None:
        """As `Browser.closed`."""
        return self._browser.closed

    @property
    def streams(self) -> dict[str, Frame]:
        """As `Browser.streams`."""
        return self._browser.streams

    async def frames(self) -> list[Frame]:
        """As `Browser.frames`."""
        return await sync_to_async(lambda: self._browser.frames)()

    async def receive(self, id: str | None = None) -> Frame:
        """As `Browser.receive`."""
        return await sync_to_async(self._browser.receive)(id)

    async def subscribe(self, topic: str) -> str:
        """As `Browser.subscribe`."""
        return await sync_to_async(self._browser.subscribe)(topic)

    async def unsubscribe(self, topic: str) -> None:
        """As `Browser.unsubscribe`."""
        await sync_to_async(self._browser.unsubscribe)(topic)

    @asynccontextmanager
    async def offline(self) -> AsyncIterator[None]:
        """As `Browser.offline`."""
        away = self._browser.offline()
        await sync_to_async(away.__enter__)()
        yield
        await sync_to_async(away.__exit__)(None, None, None)
