"""The Channels consumer behind `/websocket`: it drives one session machine (docs/node.md)."""

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Mapping
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from channels.consumer import AsyncConsumer
from django.db import Error as DatabaseError

from .. import metrics
from ..core.actions import Acknowledged, Action, CatchUp, Close, Leave, Open, Send, Subscribe, Taken, Verify
from ..core.codes import SUBPROTOCOL, CloseCode, ErrorCode, GapReason
from ..core.events import Event
from ..core.names import Stream, topic_stream
from ..core.resume import DENIED, Cursor, Head, Verdict
from ..core.seed import SeedSession
from ..core.session import Identity, Instant, Session, State
from ..core.v1 import V1Session, error_frame
from ..tokens import TokenRefused
from . import handshake, identity
from .limits import Admission
from .writer import UNSENT_MAX_BYTES, WINDOW_UNSENT_MAX_BYTES, SocketWriter, make_writer

if TYPE_CHECKING:
    from .node import Node

logger = logging.getLogger(__name__)

# Spread over this time, clients that were sent away do not come back as one wave.
RESYNC_SPREAD_MS: Final = (500, 4_000)
# A 2016 page ignores close codes and reconnects at once: refusing it slowly is the only brake there is.
SEED_REFUSAL_SECS: Final = 1.0


class RealtimeConsumer(AsyncConsumer):
    """One browser socket.

    Attributes:
        address: where it comes from, as the limits count it; None where the server does not know.
        connected: when it was accepted.

    Channels' own `__call__` is replaced: there is no channel layer here, and its dispatch hops to a thread for each
    message to look after database connections, which `DatabaseThreads` does where the database is used.
    """

    def __init__(self, node: "Node") -> None:
        self._node = node
        # The rest is set by `__call__`, before anything else runs.
        self._session: Session
        self.address: str | None
        self.connected: Instant
        self._writer: SocketWriter
        self._joined: set[Stream] = set()
        # The user that this socket counts for in the limits; None before authentication.
        self._counted_user: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dialect = "seed"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        v1 = handshake.offers_v1(scope)
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if v1 else None})
        unsent_max_bytes = WINDOW_UNSENT_MAX_BYTES if v1 else UNSENT_MAX_BYTES
        self._writer = make_writer(send, self._node.turn_end, self._end_slow, unsent_max_bytes)
        self.address = address = handshake.client_address(scope)
        self.connected = _now()
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
        """An ephemeral event for one of this socket's streams; True when it was written."""
        if not self._session.deliver(event):
            if self._session.window_is_full:
                metrics.WINDOW_DROPPED.inc()
            return False
        self._writer.write_event(event)
        return True

    def take(self, event: Event) -> Taken:
        """A durable event of one of this socket's streams; written if it is the next one."""
        taken = self._session.take(event)
        if taken is Taken.SENT:
            self._writer.write_event(event)
        return taken

    def wants(self, stream: Stream) -> Cursor | None:
        """The last durable event that was written; None while this socket can take none."""
        return self._session.wants(stream)

    def gap(self, stream: Stream, head: Head, reason: GapReason) -> bool:
        """The stream goes on behind `head`, and the client is told; False where it does not listen, or not yet."""
        listens = stream in self._session.streams
        self._perform(self._session.gap(stream, head, reason))
        return listens

    def revoked(self, stream: Stream) -> None:
        """The user may not hear the topic of this stream any more."""
        if isinstance(self._session, V1Session):
            self._perform(self._session.revoked(stream))

    @property
    def session(self) -> Session:
        """Its machine, for who wants to know how it stands; nobody else drives it."""
        return self._session

    @property
    def identity(self) -> Identity | None:
        """Who this socket speaks for by its last token; None before authentication."""
        return self._session.identity

    def revoke(self) -> None:
        """The sign-in has ended, and this socket with it."""
        self._perform(self._session.close(CloseCode.REVOKED))

    def end_if_behind(self, mono: float) -> None:
        """Close the socket of a reader that is too far behind, or acknowledges nothing any more."""
        if self._writer.is_behind or self._session.is_overdue(mono):
            self._end_slow()

    def _end_slow(self) -> None:
        self._perform(self._session.close(CloseCode.TOO_SLOW))

    def send_away(self, after_ms: int) -> None:
        """The node is going down: ask the client to come back, to another one."""
        self._perform(_counted("drain", self._session.reconnect(CloseCode.DRAIN, after_ms, "drain")))

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
            self._writer.write_text(error_frame(error, message))
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
                case Open() as wish:
                    await self._perform_all(await self._open(wish))
                case Subscribe() as wish:
                    await self._perform_all(await self._subscribe(wish))
                case _:
                    self._perform([action])

    def _perform(self, actions: list[Action]) -> None:
        """Carry out actions that wait for nothing."""
        for action in actions:
            match action:
                case Send(text):
                    self._writer.write_text(text)
                case Close(code):
                    metrics.CLOSES.labels(str(int(code))).inc()
                    self._writer.close(code)
                    self._forget()
                case Leave(stream):
                    self._joined.discard(stream)
                    self._leave(stream)
                case CatchUp(streams):
                    self._catch_up(streams)
                case Acknowledged(stream, cursor):
                    self._node.acknowledged(stream, cursor)
                case _:
                    raise TypeError(f"{action} has to be awaited")
        self._arm()

    async def _verify(self, token: str) -> list[Action]:
        try:
            who = await self._identify(token)
        except TokenRefused as refused:
            metrics.AUTHENTICATIONS.labels("refused").inc()
            logger.info("Socket %s: token refused, %s", self._session.sid, refused)
            return self._session.refused(_now())
        except (DatabaseError, TimeoutError) as error:
            metrics.AUTHENTICATIONS.labels("unavailable").inc()
            logger.warning("Socket %s: no verdict on its token, %s", self._session.sid, type(error).__name__)
            return _counted("database", self._session.unavailable(_resync_after_ms()))
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

    async def _identify(self, token: str) -> Identity:
        while True:
            asked_at = _now().mono
            who = await self._node.authentication.identify(token)
            # What was told meanwhile found no socket of this user here.
            if not self._node.standing.ended_since(who.user_id, asked_at):
                return who

    def _count(self, who: Identity) -> bool:
        if self._counted_user is not None:
            return True
        if not self._node.limits.admit_user(who.user_id):
            return False
        self._counted_user = who.user_id
        self._node.standing.join(who.user_id, self)
        return True

    async def _open(self, wish: Open) -> list[Action]:
        asked_at = _now().mono
        allowed = await self._allowed(wish.topics)
        if allowed is None:
            return self._resync()
        keeps_history = dict.fromkeys(wish.streams, True)
        for topic, stream in allowed.items():
            if stream is not None:
                keeps_history[stream] = self._node.topics.keeps_history(topic)
        verdicts = await self._judge({stream: wish.since.get(stream) for stream in keeps_history}, keeps_history)
        if verdicts is None or not await self._hold(allowed, verdicts, asked_at):
            return self._resync()
        self._perform(self._session.opened(_now(), allowed, verdicts))
        self._catch_up(verdicts)
        return []

    async def _subscribe(self, wish: Subscribe) -> list[Action]:
        assert isinstance(self._session, V1Session)
        asked_at = _now().mono
        allowed = await self._allowed((wish.topic,))
        if allowed is None:
            return self._resync()
        stream = allowed[wish.topic]
        if stream is None:
            return self._session.subscribed(wish.topic, wish.ref, topic_stream(wish.topic), DENIED)
        keeps_history = self._node.topics.keeps_history(wish.topic)
        verdicts = await self._judge({stream: wish.since}, {stream: keeps_history})
        if verdicts is None or not await self._hold(allowed, verdicts, asked_at):
            return self._resync()
        self._perform(self._session.subscribed(wish.topic, wish.ref, stream, verdicts.get(stream, DENIED)))
        self._catch_up(verdicts)
        return []

    async def _judge(
        self, since: Mapping[Stream, Cursor | None], keeps_history: Mapping[Stream, bool]
    ) -> dict[Stream, Verdict] | None:
        """Open the feeds, then see where each stream stands: nothing falls between.

        None without the database, and for a session that has ended meanwhile.
        """
        hub = self._node.hub
        await asyncio.gather(*(self._join(stream) for stream in since))
        if self._session.state is State.CLOSED:
            return None
        try:
            verdicts = await asyncio.gather(
                *(hub.verdict(stream, cursor, keeps_history=keeps_history[stream]) for stream, cursor in since.items())
            )
        except (DatabaseError, TimeoutError) as error:
            logger.warning("Socket %s: no verdict on its streams, %s", self._session.sid, type(error).__name__)
            return None
        for verdict in verdicts:
            metrics.STREAM_STATES.labels(verdict.state).inc()
            if verdict.reason is not None:
                metrics.GAPS.labels(verdict.reason).inc()
        return dict(zip(since, verdicts, strict=True))

    def _catch_up(self, streams: Iterable[Stream]) -> None:
        for stream in streams:
            self._node.hub.catch_up(stream, self)

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

    async def _hold(self, allowed: dict[str, Stream | None], verdicts: dict[Stream, Verdict], asked_at: float) -> bool:
        """Have the rights looked after from now on, and take out of both what was lost since `asked_at`.

        False where that cannot be said without the database.
        """
        who = self._session.identity
        assert who is not None
        while any(allowed.values()) and self._node.standing.changed_since(who.user_id, asked_at):
            asked_at = _now().mono
            again = await self._allowed(tuple(allowed))
            if again is None:
                return False
            for topic, stream in allowed.items():
                if stream is not None and again[topic] is None:
                    allowed[topic] = None
                    del verdicts[stream]
                    self._joined.discard(stream)
                    self._leave(stream)
        if self._session.state is not State.CLOSED:
            for topic, stream in allowed.items():
                if stream is not None:
                    self._node.rights.hold(self, identity.Wish(who.user_id, topic), stream, asked_at)
        return True

    def _resync(self) -> list[Action]:
        return _counted("database", self._session.reconnect(CloseCode.RESYNC, _resync_after_ms(), "database"))

    async def _join(self, stream: Stream) -> None:
        self._joined.add(stream)
        await self._node.hub.join(stream, self)

    def _leave(self, stream: Stream) -> None:
        self._node.hub.leave(stream, self)
        self._node.rights.drop(self, stream)

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
            self._leave(self._joined.pop())
        if self._counted_user is not None:
            self._node.limits.leave_user(self._counted_user)
            self._node.standing.leave(self._counted_user, self)
            self._counted_user = None

    @property
    def _is_v1(self) -> bool:
        return self._dialect == "v1"


def _now() -> Instant:
    # The loop's own clock, so that deadlines can be handed to call_at.
    return Instant(asyncio.get_running_loop().time(), time.time())


def _counted(reason: str, advice: list[Action]) -> list[Action]:
    """Count an advice to reconnect; there is none for a socket that has ended."""
    if advice:
        metrics.RECONNECTS_ADVISED.labels(reason).inc()
    return advice


def _resync_after_ms() -> int:
    return random.randint(*RESYNC_SPREAD_MS)  # noqa: S311 - spreads load


async def _until_disconnected(receive: Any) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
