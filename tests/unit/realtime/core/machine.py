"""Random lives of a session, driven as node/consumer.py drives it (docs/node.md).

The model beside the machine knows only what went over the socket and what the driver answered: that is enough to say
which event frames may be written.
"""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.realtime.core.codes import HEARTBEAT, CloseCode
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from apps.realtime.core.seed import is_json
from apps.realtime.core.session import (
    CLIENT_FRAME_MAX_BYTES,
    MAX_AUTH_ATTEMPTS,
    Action,
    Close,
    Identity,
    Leave,
    Open,
    Send,
    State,
    Subscribe,
    Verify,
)
from apps.realtime.core.v1 import V1Session

from .driver import ALICE, AUTH_TIMEOUT_SECS, BOB, Driven, event

TOPICS = ["news", "order-1", "a.b", "#", "é"]
STREAMS = [user_stream(ALICE), user_stream(BOB), ALL, *(topic_stream(name) for name in TOPICS)]
CONTROL = {"AUTH REQUEST", "AUTH OK", "AUTH FAILED", "SUBSCRIBED", "UNSUBSCRIBED", "RECONNECT", "ERROR"}

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "data", "topic", "ref"]), inner),
    max_leaves=5,
)
_topic = st.sampled_from([*TOPICS, "", "x" * 256])
_ref = st.none() | st.integers() | st.text(max_size=3) | st.just("r" * 100)
_data = st.fixed_dictionaries(
    {},
    optional={
        "token": st.just("t") | _json,
        "topics": st.lists(_topic, max_size=5) | _json,
        "topic": _topic | _json,
        "ref": _ref,
        "since": _json,
        "n": st.integers(),
    },
)
_ids = st.sampled_from(["AUTH", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "AUTH OK", "app/EVENT"])
_tokens = st.one_of(
    st.just("raw.token"), st.text(st.characters(exclude_categories=["N", "Z", "C"]), min_size=1, max_size=20)
).filter(lambda text: not is_json(text))
# What a client of the dialect may well send, and junk; what ends any session is a rule of its own.
CLIENT_TEXTS = {
    "seed": st.just(HEARTBEAT) | _tokens,
    "v1": st.one_of(
        st.just(HEARTBEAT),
        _tokens,
        st.fixed_dictionaries({"id": _ids, "data": _data}).map(json.dumps),
        _json.map(json.dumps),
        st.just("[" * 5_000),
    ),
}
FATAL_TEXTS = {"seed": _json.map(json.dumps), "v1": st.just("x" * (CLIENT_FRAME_MAX_BYTES + 1))}


class SessionMachine(RuleBasedStateMachine):
    """A driver that obeys the machine's contract, and a client and a network that obey nothing."""

    dialect: ClassVar[str]

    @initialize(jitter_secs=st.floats(0, 8))
    def connect(self, jitter_secs: float) -> None:
        self.driven = Driven(self.dialect, jitter_secs=jitter_secs)
        self.session = self.driven.session
        self.connected_at = self.driven.clock.mono
        # What the driver awaits; text frames stay unread meanwhile, as in the consumer.
        self.question: Verify | Open | Subscribe | None = None
        # Actions behind the question, innermost last.
        self.suspended: list[Iterator[Action]] = []
        self.closed = False
        self.good_token = False
        self.authenticated = False
        self.user: str | None = None
        self.failures = 0
        self.last_id = ""
        # What a client may believe to hear, from the frames that it got and the verdicts that the driver gave.
        self.heard: set[Stream] = set()
        self.in_doubt: dict[str, Stream | None] = {}
        self.by_frame: dict[str, Event] = {}
        self.run(self.driven.connect())

    # What may happen -----------------------------------------------------------------------------

    @precondition(lambda self: self.closed and self.question is None)
    @rule(jitter_secs=st.floats(0, 8), signs_in=st.booleans())
    def client_comes_back(self, jitter_secs: float, signs_in: bool) -> None:
        """Many short lives see more than one that is mostly over."""
        self.connect(jitter_secs)
        if signs_in:
            self.client_signs_in(life_secs=900.0, topics=True, at_once=True)

    @precondition(lambda self: self.question is None)
    @rule(data=st.data())
    def client_says(self, data: st.DataObject) -> None:
        self.run(self.driven.say(data.draw(CLIENT_TEXTS[self.dialect], "text")))

    @precondition(lambda self: self.question is None and self.authenticated and not self.closed)
    @rule(bob=st.booleans(), life_secs=st.floats(1, 900))
    def client_sends_another_token(self, bob: bool, life_secs: float) -> None:
        self.run(self.driven.say("raw.token"))
        if isinstance(self.question, Verify):
            self.token_is_good(bob=bob, life_secs=life_secs)

    @precondition(lambda self: self.question is None and not self.closed)
    @rule(times=st.integers(1, 5))
    def client_insists_on_a_bad_token(self, times: int) -> None:
        for _ in range(times):
            self.run(self.driven.say("raw.token"))
            if isinstance(self.question, Verify):
                self.token_is_bad()

    @precondition(lambda self: self.question is None and not self.authenticated and not self.closed)
    @rule(life_secs=st.sampled_from([0.5, 10.0, 100.0, 900.0]), topics=st.booleans(), at_once=st.booleans())
    def client_signs_in(self, life_secs: float, topics: bool, at_once: bool) -> None:
        """Random frames alone seldom get so far."""
        auth = json.dumps({"id": "AUTH", "data": {"token": "t", "topics": TOPICS[:3]}})
        self.run(self.driven.say(auth if topics and self.dialect == "v1" else "raw.token"))
        if isinstance(self.question, Verify):
            self.token_is_good(bob=False, life_secs=life_secs)
        if at_once and isinstance(self.question, Open):
            self.streams_open(denied=set())

    @precondition(lambda self: isinstance(self.question, Verify))
    @rule(bob=st.integers(0, 9).map(lambda dice: dice == 0), life_secs=st.floats(-5, 900))
    def token_is_good(self, bob: bool, life_secs: float) -> None:
        user = BOB if bob else ALICE
        self.good_token = True
        self.user = self.user or (None if self.closed else user)
        identity = Identity(user, "name", self.driven.clock.wall + life_secs, "mark")
        self.answer(self.session.verified(self.driven.clock.now, identity))
        if user != self.user:
            assert self.closed

    @precondition(lambda self: isinstance(self.question, Verify))
    @rule()
    def token_is_bad(self) -> None:
        self.answer(self.session.refused(self.driven.clock.now))

    @precondition(lambda self: isinstance(self.question, Verify))
    @rule(after_ms=st.integers(0, 10_000))
    def database_is_gone(self, after_ms: int) -> None:
        self.answer(self.session.unavailable(after_ms))
        assert self.closed

    @precondition(lambda self: isinstance(self.question, Open | Subscribe))
    @rule(denied=st.sets(st.sampled_from(TOPICS)))
    def streams_open(self, denied: set[str]) -> None:
        if isinstance(self.question, Open):
            assert self.question.streams == (user_stream(str(self.user)), ALL)
            topics = {name: None if name in denied else topic_stream(name) for name in self.question.topics}
            self.in_doubt = dict(topics)
            self.answer(self.session.opened(self.driven.clock.now, topics))
        elif isinstance(self.question, Subscribe):
            assert isinstance(self.session, V1Session)
            topic, ref = self.question.topic, self.question.ref
            stream = None if topic in denied else topic_stream(topic)
            self.in_doubt = {topic: stream}
            self.answer(self.session.subscribed(topic, ref, stream))

    @precondition(lambda self: isinstance(self.question, Open | Subscribe))
    @rule()
    def rules_have_no_verdict(self) -> None:
        self.answer(self.session.reconnect(CloseCode.RESYNC, 1_000, "database"))
        assert self.closed

    @rule(secs=st.floats(0, 1) | st.floats(0, 120), early=st.booleans())
    def time_passes(self, secs: float, early: bool) -> None:
        """The timer fires late by any time, or too early."""
        deadline = self.session.next_deadline
        now = self.driven.clock.advance(secs)
        if early or (deadline is not None and deadline <= now.mono):
            self.run(self.session.tick(now))
            assert self.authenticated or self.closed or self.user or now.mono < self.connected_at + AUTH_TIMEOUT_SECS

    @precondition(lambda self: not self.closed)
    @rule(late_secs=st.sampled_from([0.0, 0.001, 1.0]))
    def next_deadline_comes(self, late_secs: float) -> None:
        deadline = self.session.next_deadline
        if deadline is not None:
            self.driven.clock.advance(max(0.0, deadline - self.driven.clock.mono) + late_secs)
            self.run(self.session.tick(self.driven.clock.now))

    @rule(stream=st.sampled_from(STREAMS))
    def event_comes(self, stream: Stream) -> None:
        one = event(stream)
        self.by_frame[one.frame] = one
        if self.session.deliver(one):
            self.written(one.frame)

    @precondition(lambda self: not self.closed)
    @rule(way=st.sampled_from(["drain", "slow", "gone", "binary", "text"]), data=st.data())
    def it_ends(self, way: str, data: st.DataObject) -> None:
        """One of three times, so that some lives are long."""
        if data.draw(st.integers(0, 2), "spared"):
            return
        if way == "drain":
            self.run(self.session.reconnect(CloseCode.DRAIN, 500, "drain"))
        elif way == "slow":
            self.run(self.session.close(CloseCode.TOO_SLOW))
        elif way == "gone":
            self.session.disconnected()
            self.closed = True
        elif self.question is None:
            if way == "binary":
                self.run(self.session.binary_received())
            else:
                self.run(self.driven.say(data.draw(FATAL_TEXTS[self.dialect], "text")))
            assert self.closed

    # The driver ----------------------------------------------------------------------------------

    def answer(self, actions: list[Action]) -> None:
        self.question = None
        self.suspended.append(iter(actions))
        self.resume()

    def run(self, actions: list[Action]) -> None:
        """Carry out actions; those that come from timers while a question is open must not ask another one."""
        if self.question is not None:
            assert all(isinstance(action, Send | Close | Leave) for action in actions)
            for action in actions:
                self.perform(action)
            return
        self.suspended = [iter(actions)]
        self.resume()

    def resume(self) -> None:
        while self.suspended:
            action = next(self.suspended[-1], None)
            if action is None:
                self.suspended.pop()
            elif isinstance(action, Verify | Open | Subscribe):
                assert not self.closed
                self.question = action
                return
            else:
                self.perform(action)

    def perform(self, action: Action) -> None:
        assert not self.closed, f"{action} after the end"
        if isinstance(action, Send):
            self.written(action.text)
        elif isinstance(action, Close):
            self.closed = True
        elif isinstance(action, Leave):
            assert action.stream in self.heard
            self.heard.discard(action.stream)

    # The model -----------------------------------------------------------------------------------

    def written(self, text: str) -> None:
        assert not self.closed, "a frame after the end"
        one = self.by_frame.get(text)
        if one is not None:
            assert self.authenticated, "an event before AUTH OK"
            assert one.stream in self.heard, f"an event of {one.stream}"
            return
        if text == HEARTBEAT:
            assert self.authenticated
            return
        frame = json.loads(text)
        assert frame["id"] in CONTROL
        if self.dialect == "seed":
            assert set(frame) == {"id"}
            assert frame["id"] in {"AUTH REQUEST", "AUTH OK", "AUTH FAILED"}
        self.follow(frame["id"], frame.get("data", {}))
        self.last_id = frame["id"]

    def follow(self, frame_id: str, data: dict[str, Any]) -> None:
        if frame_id == "AUTH OK":
            assert self.good_token
            if not self.authenticated:
                self.heard = {user_stream(str(self.user)), ALL}
                self.heard |= {stream for stream in self.in_doubt.values() if stream is not None}
            self.authenticated = True
            self.failures = 0
        elif frame_id == "AUTH FAILED":
            self.failures += 1
            # One stale answer to a refresh is forgiven.
            assert self.failures <= MAX_AUTH_ATTEMPTS + self.authenticated
        elif frame_id == "AUTH REQUEST" and self.last_id != "AUTH FAILED":
            self.failures = 0
        elif frame_id == "SUBSCRIBED" and data["state"] == "new":
            self.heard.add(Stream(data["stream"]))

    # What always holds ---------------------------------------------------------------------------

    @invariant()
    def a_deadline_is_set_until_the_end(self) -> None:
        assert (self.session.next_deadline is None) == self.closed
        assert (self.session.state is State.CLOSED) == self.closed

    @invariant()
    def the_user_never_switches(self) -> None:
        identity = self.session.identity
        assert (identity.user_id if identity else None) == self.user

    @invariant()
    def only_what_was_announced_is_heard(self) -> None:
        assert self.session.streams == (set() if self.closed else self.heard)
