"""The life of one browser socket as a state machine without I/O; both dialects share it (docs/node.md).

Whoever drives it calls a method for each thing that happens, carries out the actions that come back in their order,
and calls `tick` at `next_deadline`. Nothing here waits, reads a clock or touches a network.

    AUTHENTICATING ──verified──▶ OPENING ──opened──▶ OPEN ──▶ CLOSED
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from .actions import Action, Close, Open, Send, Taken, Verify
from .codes import HEARTBEAT, AuthReason, CloseCode, ErrorCode, GapReason
from .events import Event
from .names import ALL, Stream, user_stream
from .ratelimit import TokenBucket
from .receipts import Receipts
from .resume import Cursor, Head, Position, Verdict
from .window import Window

# Our longest honest frame is an AUTH with a token (under 1 KiB), a hundred topics and their cursors.
CLIENT_FRAME_MAX_BYTES: Final = 16 * 1024
# OWASP's WebSocket cheat sheet starts at about 100 messages a minute; ACK and heartbeat are exempt.
CLIENT_FRAMES_PER_MIN: Final = 100
MAX_AUTH_ATTEMPTS: Final = 3
# A heartbeat that was not echoed before the second one after it: two are missing (protocol.md, realtime.v1).
MAX_UNECHOED_HEARTBEATS: Final = 2
# protocol.md: AUTH REQUEST comes 60 s before expiry. Tokens that live shorter are asked for at half their life.
REFRESH_LEAD_SECS: Final = 60.0
# The two clocks of a machine drift apart by less in a token's life; two tokens are given out further apart.
CLOCK_DRIFT_SECS: Final = 1.0
# Ephemeral events that arrive between a stream's opening and AUTH OK, normally a handful of milliseconds.
MAX_HELD_EVENTS: Final = 256


class Instant(NamedTuple):
    """One moment on both clocks: `mono` for timers, `wall` (unix seconds) for what is told to the client."""

    mono: float
    wall: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token speaks for.

    Attributes:
        user_id: the primary key as text.
        username: for people; never used to decide anything.
        expires_at: unix seconds.
        mark: the sign-in that the token came from.
        password: digest that ends with the user's password.
    """

    user_id: str
    username: str
    expires_at: float
    mark: str
    password: str


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a site may tune. `heartbeat_jitter_secs` is called once a heartbeat, so that sockets spread out."""

    auth_timeout_secs: float
    heartbeat_secs: float
    heartbeat_jitter_secs: Callable[[], float]
    max_topics: int
    tells_acknowledged: bool = False


class State(Enum):
    """Where a session stands."""

    AUTHENTICATING = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSED = auto()


class IllegalTransition(RuntimeError):
    """The driver called a method in a state that cannot have it."""


class Session(ABC):
    """What both dialects have in common: authentication, expiry, heartbeat, limits.

    Attributes:
        sid: names this session in logs and to its client.
        state: see `State`.
        identity: set by the first accepted token, replaced by each refresh, never by another user's.
    """

    def __init__(self, sid: str, config: SessionConfig) -> None:
        self.sid = sid
        self.state = State.AUTHENTICATING
        self.identity: Identity | None = None
        self._config = config
        # Of each stream that AUTH OK or SUBSCRIBED has announced.
        self._positions: dict[Stream, Position] = {}
        self._window = Window() if self._acknowledges else None
        # Of the user's stream; None before it is open, and where nobody wants to know.
        self._receipts: Receipts | None = None
        # Streams of which a durable event found the window full.
        self._waiting: set[Stream] = set()
        # Ephemeral events of streams that are open while AUTH OK is not sent yet; None afterwards.
        self._held: list[Event] | None = []
        self._attempt = 0
        self._verifying = False
        # True from an AUTH REQUEST on an open session until a newer token is accepted.
        self._refreshing = False
        self._stale_answer_forgiven = False
        self._unechoed = 0
        self._auth_deadline: float | None = None
        self._heartbeat_at: float | None = None
        self._refresh_at: float | None = None
        self._expires_at: float | None = None
        self._frames: TokenBucket | None = None

    # What happens to a session -------------------------------------------------------------------

    def connected(self, now: Instant) -> list[Action]:
        """The socket is accepted. The server speaks first."""
        self._auth_deadline = now.mono + self._config.auth_timeout_secs
        self._frames = TokenBucket(per_sec=CLIENT_FRAMES_PER_MIN / 60, burst=CLIENT_FRAMES_PER_MIN, now=now.mono)
        self._attempt = 1
        by = now.wall + self._config.auth_timeout_secs
        return [self._auth_request(AuthReason.CONNECT, by)]

    def text_received(self, now: Instant, text: str) -> list[Action]:
        """A text frame came from the client."""
        if self.state is State.CLOSED:
            return []
        # A character has at least one byte, so the cheap test comes first.
        if len(text) > CLIENT_FRAME_MAX_BYTES or len(text.encode(errors="replace")) > CLIENT_FRAME_MAX_BYTES:
            return self._violation(ErrorCode.FRAME_TOO_LARGE, f"a frame has at most {CLIENT_FRAME_MAX_BYTES} bytes")
        if text == HEARTBEAT:
            self._unechoed = 0
            return []
        return self._frame_received(now, text)

    def binary_received(self) -> list[Action]:
        """A binary frame came; no dialect has any."""
        if self.state is State.CLOSED:
            return []
        return self._violation(ErrorCode.BINARY_FRAME, "this socket takes text frames only")

    def verified(self, now: Instant, identity: Identity) -> list[Action]:
        """The token of the last `Verify` is good."""
        if not self._answer():
            return []
        if self.identity is None:
            self.identity = identity
            self.state = State.OPENING
            self._auth_deadline = None
            self._set_expiry(now, identity)
            return [Open((user_stream(identity.user_id), ALL), self._wanted_topics(), self._since())]
        if identity.user_id != self.identity.user_id:
            return self.close(CloseCode.REVOKED)
        if not self._is_newer(now, identity):
            # The token that this session lives on already. Asked for a newer one, that is no answer.
            return self._rejected(now) if self._refreshing else [self._auth_ok(now, {}, {})]
        self.identity = identity
        self._set_expiry(now, identity)
        return [self._auth_ok(now, {}, {})]

    def refused(self, now: Instant) -> list[Action]:
        """The token of the last `Verify` is not good."""
        return self._rejected(now) if self._answer() else []

    def unavailable(self, after_ms: int) -> list[Action]:
        """No verdict on the token is possible: the database is gone. The client keeps what it has and comes back."""
        if not self._answer():
            return []
        return self.reconnect(CloseCode.RESYNC, after_ms, "database")

    def opened(
        self, now: Instant, topics: Mapping[str, Stream | None], verdicts: Mapping[Stream, Verdict]
    ) -> list[Action]:
        """The streams of the last `Open` are live and judged; a topic that was denied maps to None.

        Durable events behind the verdicts have to be offered by `take` from now on.
        """
        if self.state is State.CLOSED:
            return []
        if self.state is not State.OPENING or self.identity is None or self._held is None:
            raise IllegalTransition(f"opened() in state {self.state.name}, expected OPENING")
        self.state = State.OPEN
        self._positions = {stream: Position(verdict.cursor) for stream, verdict in verdicts.items()}
        self._schedule_heartbeat(now)
        actions: list[Action] = [self._auth_ok(now, topics, verdicts)]
        held, self._held = self._held, None
        actions += [Send(event.frame) for event in held if self.deliver(event)]
        return actions

    def deliver(self, event: Event) -> bool:
        """An ephemeral event came for one of this session's streams: True if its frame shall be written now."""
        if self.state is State.OPEN:
            return event.stream in self._positions and (self._window is None or self._window.admit(event.size))
        if self.state is State.OPENING and self._held is not None and len(self._held) < MAX_HELD_EVENTS:
            self._held.append(event)
        return False

    def take(self, event: Event) -> Taken:
        """A durable event, from wherever: `SENT` means that its frame shall be written now.

        The one place that moves a position, by one event and in order: nothing is sent twice, and nothing is left out.
        """
        position = self._positions.get(event.stream)
        if position is None:
            return Taken.UNWANTED
        if event.seq != position.seq + 1 or event.epoch != position.epoch:
            behind = event.epoch == position.epoch and event.seq > position.seq
            return Taken.BEHIND if behind else Taken.COPY
        if self._window is not None and not self._window.admit(event.size):
            self._waiting.add(event.stream)
            return Taken.FULL
        position.seq = event.seq
        if self._receipts is not None and self._window is not None and event.stream == self._receipts.stream:
            self._receipts.sent(self._window.sent, Cursor(event.epoch, event.seq))
        return Taken.SENT

    def position(self, stream: Stream) -> Cursor | None:
        """The last durable event of the stream that was written; None where this session does not listen to it."""
        position = self._positions.get(stream)
        return None if position is None else Cursor(position.epoch, position.seq)

    @property
    def unacked(self) -> int | None:
        """Event frames that the client has not acknowledged; None in a dialect that acknowledges nothing."""
        return None if self._window is None else self._window.unacked

    @property
    def topics(self) -> tuple[str, ...]:
        """What the client listens to, by the names that it uses."""
        return ()

    @property
    def window_is_full(self) -> bool:
        """Whether nothing more may be written before the client acknowledges."""
        return self._window is not None and not self._window.has_room

    def wants(self, stream: Stream) -> Cursor | None:
        """`position`, for who has the next event; None also while the window is full, and then `CatchUp` follows."""
        if self.window_is_full and stream in self._positions:
            self._waiting.add(stream)
            return None
        return self.position(stream)

    def gap(self, stream: Stream, head: Head, reason: GapReason) -> list[Action]:
        """The stream cannot be continued where this session stands; it goes on behind `head`."""
        if stream not in self._positions:
            return []
        self._positions[stream] = Position(Cursor(head.epoch, head.head))
        self._waiting.discard(stream)
        return self._gap(stream, head, reason)

    def is_overdue(self, mono: float) -> bool:
        """Whether the client has acknowledged nothing for too long; to be asked every second or so."""
        return self._window is not None and self.state is State.OPEN and self._window.is_overdue(mono)

    def tick(self, now: Instant) -> list[Action]:
        """Do what is due. To be called at `next_deadline`; calling it earlier does nothing."""
        if self.state is State.CLOSED:
            return []
        mono = now.mono
        for deadline in (self._auth_deadline, self._expires_at):
            if deadline is not None and mono >= deadline:
                return self.close(CloseCode.AUTH_TIMEOUT)
        actions: list[Action] = []
        if self._refresh_at is not None and mono >= self._refresh_at and self.identity is not None:
            self._refresh_at = None
            self._refreshing = True
            self._stale_answer_forgiven = False
            self._attempt = 1
            actions.append(self._auth_request(AuthReason.EXPIRING, self.identity.expires_at))
        if self._heartbeat_at is not None and mono >= self._heartbeat_at:
            if self._echoes_heartbeat and self._unechoed >= MAX_UNECHOED_HEARTBEATS:
                return [*actions, *self.close(CloseCode.HEARTBEAT_MISSED)]
            self._unechoed += 1
            self._schedule_heartbeat(now)
            actions.append(Send(HEARTBEAT))
        return actions

    def close(self, code: CloseCode) -> list[Action]:
        """The server ends the socket."""
        if self.state is State.CLOSED:
            return []
        self.disconnected()
        return [Close(code)]

    def disconnected(self) -> None:
        """The socket is gone, whoever ended it."""
        self.state = State.CLOSED
        self._positions = {}
        self._waiting = set()
        self._held = None
        self._auth_deadline = self._heartbeat_at = self._refresh_at = self._expires_at = None

    @property
    def streams(self) -> Set[Stream]:
        """What AUTH OK and SUBSCRIBED have announced; empty before."""
        return self._positions.keys()

    @property
    def next_deadline(self) -> float | None:
        """Monotonic time of the next `tick`; None when nothing is due."""
        deadlines = (self._auth_deadline, self._heartbeat_at, self._refresh_at, self._expires_at)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # What a dialect adds -------------------------------------------------------------------------

    _echoes_heartbeat: bool
    _acknowledges: bool

    @abstractmethod
    def _frame_received(self, now: Instant, text: str) -> list[Action]:
        """A text frame within the size limit that is no heartbeat."""

    @abstractmethod
    def _auth_request(self, reason: AuthReason, by: float) -> Send: ...

    @abstractmethod
    def _auth_ok(
        self, now: Instant, topics: Mapping[str, Stream | None], verdicts: Mapping[Stream, Verdict]
    ) -> Send: ...

    @abstractmethod
    def _auth_failed(self, *, final: bool) -> Send: ...

    @abstractmethod
    def _violation(self, code: ErrorCode, message: str) -> list[Action]:
        """Tell the client if the dialect can, then close with 4502."""

    @abstractmethod
    def reconnect(self, code: CloseCode, after_ms: int, reason: str) -> list[Action]:
        """Ask the client to come back in `after_ms`, then close with `code`."""

    def _wanted_topics(self) -> tuple[str, ...]:
        return ()

    def _since(self) -> Mapping[str, Cursor]:
        return {}

    def _gap(self, stream: Stream, head: Head, reason: GapReason) -> list[Action]:
        """Tell the client; a dialect that is live only has nothing to tell."""
        return []

    # Shared by the dialects ----------------------------------------------------------------------

    def _take_frame(self, now: Instant) -> bool:
        """Count a frame against the rate limit; False when there are too many."""
        return self._frames is not None and self._frames.take(now.mono)

    def _token_received(self, token: str) -> list[Action]:
        if self._verifying or self.state is State.OPENING:
            raise IllegalTransition("a frame was handed over before the last Verify or Open was answered")
        self._verifying = True
        return [Verify(token)]

    def _answer(self) -> bool:
        """Whether an answer to `Verify` still matters."""
        if self.state is State.CLOSED:
            return False
        if not self._verifying:
            raise IllegalTransition("an answer came without a Verify")
        self._verifying = False
        return True

    def _rejected(self, now: Instant) -> list[Action]:
        if self._refreshing and not self._stale_answer_forgiven:
            # A 2016 page first answers with the cookie it has, and fetches a new token when that is refused.
            self._stale_answer_forgiven = True
        else:
            self._attempt += 1
        if self._attempt > MAX_AUTH_ATTEMPTS:
            return [self._auth_failed(final=True), *self.close(CloseCode.AUTH_FAILED)]
        by = now.wall + max(0.0, (self._auth_deadline or self._expires_at or now.mono) - now.mono)
        return [self._auth_failed(final=False), self._auth_request(AuthReason.REJECTED, by)]

    def _is_newer(self, now: Instant, identity: Identity) -> bool:
        """Whether a token lives longer than the session would; by the time that is left, too: clocks are set back."""
        assert self.identity is not None
        assert self._expires_at is not None
        left, its_left = self._expires_at - now.mono, identity.expires_at - now.wall
        return identity.expires_at > self.identity.expires_at or its_left > left + CLOCK_DRIFT_SECS

    def _set_expiry(self, now: Instant, identity: Identity) -> None:
        left = max(0.0, identity.expires_at - now.wall)
        self._expires_at = now.mono + left
        self._refresh_at = now.mono + left - min(REFRESH_LEAD_SECS, left / 2)
        self._refreshing = False
        self._attempt = 1

    def _schedule_heartbeat(self, now: Instant) -> None:
        self._heartbeat_at = now.mono + self._config.heartbeat_secs + self._config.heartbeat_jitter_secs()
