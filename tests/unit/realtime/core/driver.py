"""Drives a session machine by hand, with clocks that only tests move (docs/node.md)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from apps.realtime.core.actions import Action, Close, Open, Send, Verify
from apps.realtime.core.codes import GapReason, StreamState
from apps.realtime.core.events import Event, EventTemplate, numbered
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from apps.realtime.core.resume import Cursor, Verdict
from apps.realtime.core.seed import SeedSession
from apps.realtime.core.session import Identity, Instant, Session, SessionConfig
from apps.realtime.core.v1 import V1Session

DIALECTS: dict[str, type[Session]] = {"seed": SeedSession, "v1": V1Session}
AUTH_TIMEOUT_SECS = 10.0
HEARTBEAT_SECS = 45.0
MAX_TOPICS = 3
ALICE, BOB = "7", "8"
EPOCH = "e1"

_mids = count(1)


@dataclass
class Clock:
    """Both clocks of an `Instant`; they differ so that mixing them up shows."""

    mono: float = 1_000.0
    wall: float = 1_800_000_000.0

    @property
    def now(self) -> Instant:
        return Instant(self.mono, self.wall)

    def advance(self, secs: float) -> Instant:
        self.mono += secs
        self.wall += secs
        return self.now


def event(stream: Stream, data: object = None, event_id: str = "app/EVENT") -> Event:
    """An event with a frame that no other event has."""
    return EventTemplate(event_id, data, json.JSONEncoder).for_stream(stream, mid=f"m{next(_mids)}", ts=0.0)


def durable(stream: Stream, seq: int, epoch: str = EPOCH, data: object = None) -> Event:
    """A durable event with a frame that no other event has."""
    one = event(stream, data)
    return numbered(stream, one.id, one.frame, one.mid, epoch, seq)


def new(head: int = 0, epoch: str = EPOCH) -> Verdict:
    """Live from the head on."""
    return Verdict(StreamState.NEW, Cursor(epoch, head), head)


def recovered(since: int, head: int, epoch: str = EPOCH) -> Verdict:
    """What is behind `since` follows."""
    return Verdict(StreamState.RECOVERED, Cursor(epoch, since), head)


def gap(head: int, reason: GapReason, epoch: str = EPOCH) -> Verdict:
    """Live from the head on, and something was missed."""
    return Verdict(StreamState.GAP, Cursor(epoch, head), head, reason)


class Driven:
    """A session with its clock; each method hands back the actions that the machine asked for."""

    def __init__(self, dialect: str, *, jitter_secs: float = 0.0, tells_acknowledged: bool = False) -> None:
        self.clock = Clock()
        config = SessionConfig(
            auth_timeout_secs=AUTH_TIMEOUT_SECS,
            heartbeat_secs=HEARTBEAT_SECS,
            heartbeat_jitter_secs=lambda: jitter_secs,
            max_topics=MAX_TOPICS,
            tells_acknowledged=tells_acknowledged,
        )
        self.session: Session = DIALECTS[dialect]("sid-1", config)

    def connect(self) -> list[Action]:
        return self.session.connected(self.clock.now)

    def say(self, frame: str | dict[str, Any]) -> list[Action]:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        return self.session.text_received(self.clock.now, text)

    def identity(self, user_id: str = ALICE, life_secs: float = 900.0) -> Identity:
        return Identity(user_id, f"user-{user_id}", self.clock.wall + life_secs, "mark", "password")

    def accept(self, user_id: str = ALICE, life_secs: float = 900.0) -> list[Action]:
        """Answer the pending Verify: the token is good."""
        return self.session.verified(self.clock.now, self.identity(user_id, life_secs))

    def refuse(self) -> list[Action]:
        return self.session.refused(self.clock.now)

    def token(self, *, accept: bool, user_id: str = ALICE, life_secs: float = 900.0) -> list[Action]:
        """Send a raw token and answer its Verify."""
        assert self.say("raw.token") == [Verify("raw.token")]
        return self.accept(user_id, life_secs) if accept else self.refuse()

    def open(
        self, topics: Mapping[str, Stream | None] | None = None, verdicts: Mapping[Stream, Verdict] | None = None
    ) -> list[Action]:
        """Answer the pending Open; a stream is `new` where no verdict is given."""
        topics = topics or {}
        identity = self.session.identity
        user = [] if identity is None else [user_stream(identity.user_id)]
        streams = [*user, ALL, *(stream for stream in topics.values() if stream is not None)]
        return self.session.opened(self.clock.now, topics, {stream: new() for stream in streams} | dict(verdicts or {}))

    def sign_in(
        self,
        *,
        life_secs: float = 900.0,
        topics: Sequence[str] = (),
        verdicts: Mapping[Stream, Verdict] | None = None,
    ) -> list[Action]:
        """From nothing to OPEN as alice; the actions of the last step."""
        self.connect()
        if topics:
            self.say({"id": "AUTH", "data": {"token": "raw.token", "topics": list(topics)}})
            actions = self.accept(ALICE, life_secs)
        else:
            actions = self.token(accept=True, life_secs=life_secs)
        assert actions == [Open((user_stream(ALICE), ALL), tuple(topics), {})]
        return self.open({name: topic_stream(name) for name in topics}, verdicts)

    def tick(self, secs: float = 0.0) -> list[Action]:
        return self.session.tick(self.clock.advance(secs))


def texts(actions: Sequence[Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, Send)]


def frames(actions: Sequence[Action]) -> list[dict[str, Any]]:
    """The JSON frames among the actions, decoded."""
    return [json.loads(text) for text in texts(actions) if text.startswith("{")]


def ids(actions: Sequence[Action]) -> list[str]:
    return [frame["id"] for frame in frames(actions)]


def close_code(actions: Sequence[Action]) -> int | None:
    """The code of the Close, which is the last action if there is one."""
    assert not any(isinstance(action, Close) for action in actions[:-1])
    last = actions[-1] if actions else None
    return int(last.code) if isinstance(last, Close) else None
