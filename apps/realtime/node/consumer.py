"""The Channels consumer behind `/websocket`: it drives one session machine (docs/node.md)."""

import asyncio
import logging
import random
import time
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from channels.consumer import AsyncConsumer
from django.db import Error as DatabaseError

from .. import metrics
from ..core.codes import SUBPROTOCOL, CloseCode, ErrorCode
from ..core.events import Event
from ..core.names import Stream
from ..core.seed import SeedSession
from ..core.session import Action, Close, Identity, Instant, Leave, Open, Send, Session, Subscribe, Verify
from ..core.v1 import V1Session, error_frame
from ..tokens import TokenRefused
from . import handshake, identity
from .limits import Admission
from .writer import SocketWriter

if TYPE_CHECKING:
    from .node import Node

logger = logging.getLogger(__name__)

# Spread over this time, clients that were sent away do not come back as one wave.
RESYNC_SPREAD_MS: Final = (1_000, 10_000)
# A 2016 page ignores close codes and reconnects at once: refusing it slowly is the only brake there is.
SEED_REFUSAL_SECS: Final = 1.0


class RealtimeConsumer(AsyncConsumer):
    """One browser socket.

    Channels' own `__call__` is replaced: there is no channel layer here, and its dispatch hops to a thread for each
    message to look after database connections, which `DatabaseThreads` does where the database is used.
    """

    def __init__(self, node: "Node") -> None:
        self._node = node
        # The rest is set by `__call__`, before anything else runs.
        self._session: Session
        self._writer: SocketWriter
        self._joined: set[Stream] = set()
        # The user that this socket counts for in the limits; None before authentication.
        self._counted_user: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dialect = "seed"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._writer = SocketWriter(send)
        await receive()  # websocket.connect
        v1 = handshake.offers_v1(scope)
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if v1 else None})
        address = handshake.client_address(scope)
        refusal = self._refusal(scope, address)
        if refusal is not None:
            await self._refuse(refusal, receive, v1=v1)
            return
        try:
            await self._serve(receive, v1=v1)
        finally:
            if address is not None:
                self._node.limits.leave(address)

    def deliver(self, event: Event) -> bool:
        """An event for one of this socket's streams; True when it was written."""
        if not self._session.deliver(event):
            return False
        self._writer.write(event.frame, event.size)
        if self._writer.too_slow:
            self._perform(self._session.close(CloseCode.TOO_SLOW))
        return True

    def end_if_behind(self) -> None:
        """Close the socket of a reader that is over 1 MiB behind."""
        if self._writer.is_behind:
            self._perform(self._session.close(CloseCode.TOO_SLOW))

    def send_away(self, after_ms: int) -> None:
        """The node is going down: ask the client to come back, to another one."""
        self._perform(self._session.reconnect(CloseCode.DRAIN, after_ms, "drain"))

    # Handshake -----------------------------------------------------------------------------------

    def _refusal(self, scope: Any, address: str | None) -> tuple[CloseCode, ErrorCode, str] | None:
        # Before the limits: else a foreign page could use up the allowance of whoever looks at it.
        if not handshake.origin_is_allowed(scope, self._node.conf.allowed_origins):
            return (
                CloseCode.ORIGIN_REFUSED,
                ErrorCode.ORIGIN_REFUSED,
                "this page's origin is not this site's and is not in REALTIME_ALLOWED_ORIGINS",
            )
        if self._node.draining:
            return CloseCode.DRAIN, ErrorCode.GOING_DOWN, "this node is going down"
        if address is None:
            return None
        admission = self._node.limits.admit(address, time.monotonic())
        if admission is Admission.TOO_FAST:
            return CloseCode.RATE_LIMITED, ErrorCode.RATE_LIMITED, "too many connections per second"
        if admission is Admission.TOO_MANY:
            return CloseCode.TOO_MANY_CONNECTIONS, ErrorCode.TOO_MANY_CONNECTIONS, "too many connections"
        return None

    async def _refuse(self, refusal: tuple[CloseCode, ErrorCode, str], receive: Any, *, v1: bool) -> None:
        code, error, message = refusal
        metrics.CLOSES.labels(str(int(code))).inc()
        if v1:
            self._write_control(error_frame(error, message))
        else:
            await asyncio.sleep(SEED_REFUSAL_SECS)
        self._writer.close(code)
        await _until_disconnected(receive)

    async def _serve(self, receive: Any, *, v1: bool) -> None:
        self._dialect = "v1" if v1 else "seed"
        self._session = (V1Session if v1 else SeedSession)(token_hex(8), self._node.session_config)
        sessions = metrics.SESSIONS.labels(self._dialect)
        sessions.inc()
        self._node.consumers.add(self)
        try:
            self._perform(self._session.connected(_now()))
            await self._receive_all(receive)
        finally:
            self._session.disconnected()
            self._writer.abandon()
            self._forget()
            self._node.consumers.discard(self)
            sessions.dec()

    # Frames from the client ----------------------------------------------------------------------

    async def _receive_all(self, receive: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                self._perform(self._session.binary_received())
            else:
                await self._perform_all(self._session.text_received(_now(), text))

    async def _perform_all(self, actions: list[Action]) -> None:
        """Carry out actions of which some wait for the database or the broker, and what follows from them."""
        for action in actions:
            match action:
                case Verify(token):
                    await self._perform_all(await self._verify(token))
                case Open(streams, topics):
                    await self._perform_all(await self._open(streams, topics))
                case Subscribe(topic, ref):
                    await self._perform_all(await self._subscribe(topic, ref))
                case _:
                    self._perform([action])

    def _perform(self, actions: list[Action]) -> None:
        """Carry out actions that wait for nothing."""
        for action in actions:
            match action:
                case Send(text):
                    self._write_control(text)
                case Close(code):
                    metrics.CLOSES.labels(str(int(code))).inc()
                    self._writer.close(code)
                    self._forget()
                case Leave(stream):
                    self._joined.discard(stream)
                    self._node.hub.leave(stream, self)
                case _:
                    raise TypeError(f"{action} has to be awaited")
        self._arm()

    def _write_control(self, text: str) -> None:
        self._writer.write(text, len(text.encode()))

    async def _verify(self, token: str) -> list[Action]:
        now = _now()
        try:
            who = await self._node.database.ask(identity.identify, token, now.wall)
        except TokenRefused as refused:
            metrics.AUTHENTICATIONS.labels("refused").inc()
            logger.info("Socket %s: token refused, %s", self._session.sid, refused)
            return self._session.refused(_now())
        except (DatabaseError, TimeoutError) as error:
            metrics.AUTHENTICATIONS.labels("unavailable").inc()
            logger.warning("Socket %s: no verdict on its token, %s", self._session.sid, type(error).__name__)
            return self._session.unavailable(_resync_after_ms())
        metrics.AUTHENTICATIONS.labels("accepted").inc()
        if not self._count(who):
            return [
                *(
                    [Send(error_frame(ErrorCode.TOO_MANY_CONNECTIONS, "too many tabs of this user"))]
                    if self._is_v1
                    else []
                ),
                *self._session.close(CloseCode.TOO_MANY_CONNECTIONS),
            ]
        return self._session.verified(_now(), who)

    def _count(self, who: Identity) -> bool:
        if self._counted_user is not None:
            return True
        if not self._node.limits.admit_user(who.user_id):
            return False
        self._counted_user = who.user_id
        return True

    async def _open(self, streams: tuple[Stream, ...], topics: tuple[str, ...]) -> list[Action]:
        allowed = await self._allowed(topics)
        if allowed is None:
            return self._resync()
        wanted = [*streams, *(stream for stream in allowed.values() if stream is not None)]
        await asyncio.gather(*(self._join(stream) for stream in wanted))
        return self._session.opened(_now(), allowed)

    async def _subscribe(self, topic: str, ref: str | int | None) -> list[Action]:
        assert isinstance(self._session, V1Session)
        allowed = await self._allowed((topic,))
        if allowed is None:
            return self._resync()
        stream = allowed[topic]
        if stream is not None:
            await self._join(stream)
        return self._session.subscribed(topic, ref, stream)

    async def _allowed(self, topics: tuple[str, ...]) -> dict[str, Stream | None] | None:
        """What the topics' rules say; None when the database does not answer."""
        who = self._session.identity
        if not topics or who is None:
            return {}
        try:
            return await self._node.database.ask(identity.allowed_topics, who.user_id, topics, self._node.topics)
        except (DatabaseError, TimeoutError) as error:
            logger.warning("Socket %s: no verdict on its topics, %s", self._session.sid, type(error).__name__)
            return None

    def _resync(self) -> list[Action]:
        return self._session.reconnect(CloseCode.RESYNC, _resync_after_ms(), "database")

    async def _join(self, stream: Stream) -> None:
        self._joined.add(stream)
        await self._node.hub.join(stream, self)

    # Time and the end ----------------------------------------------------------------------------

    def _arm(self) -> None:
        deadline = self._session.next_deadline
        if self._timer is not None:
            if deadline == self._timer.when():
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._perform(self._session.tick(_now()))

    def _forget(self) -> None:
        """Leave every list that this socket is on; calling it again does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._joined:
            self._node.hub.leave(self._joined.pop(), self)
        if self._counted_user is not None:
            self._node.limits.leave_user(self._counted_user)
            self._counted_user = None

    @property
    def _is_v1(self) -> bool:
        return self._dialect == "v1"


def _now() -> Instant:
    # The loop's own clock, so that deadlines can be handed to call_at.
    return Instant(asyncio.get_running_loop().time(), time.time())


def _resync_after_ms() -> int:
    return random.randint(*RESYNC_SPREAD_MS)  # noqa: S311 - spreads load


async def _until_disconnected(receive: Any) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
