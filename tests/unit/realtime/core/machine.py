"""Random lives of a session, driven as node/consumer.py drives it (docs/node.md).

The model beside the machine knows only what went over the socket and what the driver answered: that is enough to say
which event frames have to be written, and which must not be.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.realtime.core.actions import Action, CatchUp, Close, Leave, Open, Send, Subscribe, Taken, Verify
from apps.realtime.core.codes import HEARTBEAT, CloseCode, GapReason
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from apps.realtime.core.resume import DENIED, Cursor, Head, Verdict
from apps.realtime.core.seed import is_json
from apps.realtime.core.session import CLIENT_FRAME_MAX_BYTES, MAX_AUTH_ATTEMPTS, MAX_HELD_EVENTS, Identity, State
from apps.realtime.core.v1 import V1Session
from apps.realtime.core.window import ACK_TIMEOUT_SECS, WINDOW_BYTES, WINDOW_EVENTS

from .driver import ALICE, AUTH_TIMEOUT_SECS, BOB, Driven, durable, event, gap, new, recovered

TOPICS = ["news", "order-1", "a.b", "#", "é"]
STREAMS = [user_stream(ALICE), user_stream(BOB), ALL, *(topic_stream(name) for name in TOPICS)]
CONTROL = {"AUTH REQUEST", "AUTH OK", "AUTH FAILED", "SUBSCRIBED", "UNSUBSCRIBED", "GAP", "RECONNECT", "ERROR"}
EPOCHS = ["e1", "e2"]
# Of an `Open`: the two streams of a user and three topics.
OPENED_MAX = 5

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "data", "topic", "ref"]), inner),
    max_leaves=5,
)
_topic = st.sampled_from([*TOPICS, "", "x" * 256])
_ref = st.none() | st.integers() | st.text(max_size=3) | st.just("r" * 100)
_cursor = st.fixed_dictionaries({"epoch": st.sampled_from(EPOCHS), "seq": st.integers(-1, 9)})
_data = st.fixed_dictionaries(
    {},
    optional={
        "token": st.just("t") | _json,
        "topics": st.lists(_topic, max_size=5) | _json,
        "topic": _topic | _json,
        "ref": _ref,
        "since": st.dictionaries(st.sampled_from(STREAMS), _cursor | _json, max_size=3) | _cursor | _json,
        "n": st.integers(0, 3) | _json,
    },
)
_ids = st.sampled_from(["AUTH", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "AUTH OK", "app/EVENT"])
_tokens = st.one_of(
    st.just("raw.token"), st.text(st.characters(exclude_categories=["N", "Z", "C"]), min_size=1, max_size=20)
).filter(lambda text: not is_json(text))
_often, _seldom = st.integers(0, 3).map(bool), st.integers(0, 3).map(lambda dice: not dice)
_epochs, _heads = st.sampled_from(EPOCHS), st.integers(0, 20)
_verdicts = st.lists(
    st.one_of(
        st.builds(new, _heads, _epochs),
        st.builds(lambda head, behind, epoch: recovered(max(0, head - behind), head, epoch), _heads, _heads, _epochs),
        st.builds(gap, _heads, st.sampled_from(GapReason), _epochs),
    ),
    min_size=OPENED_MAX,
    max_size=OPENED_MAX,
)
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

    @initialize(jitter_secs=st.floats(0, 8), signs_in=_often)
    def begin(self, jitter_secs: float, signs_in: bool) -> None:
        self.connect(jitter_secs)
        if signs_in:
            self.client_signs_in(life_secs=900.0, topics=True, at_once=True)

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
        # Where a client stands in what it hears, from the frames that it got and the verdicts that the driver gave.
        self.cursors: dict[Stream, Cursor] = {}
        self.verdicts: dict[Stream, Verdict] = {}
        self.by_frame: dict[str, Event] = {}
        # Ephemeral events that wait for AUTH OK, by frame.
        self.held: dict[str, Event] = {}
        # Sizes of the event frames since AUTH OK, and how many of them are acknowledged.
        self.sizes: list[int] = []
        self.acked = 0
        self.owes_since = 0.0
        # Streams of which an event found no room.
        self.waiting: set[Stream] = set()
        self.run(self.driven.connect())

    # What may happen -----------------------------------------------------------------------------

    @precondition(lambda self: self.closed and self.question is None)
    @rule(jitter_secs=st.floats(0, 8), signs_in=_often)
    def client_comes_back(self, jitter_secs: float, signs_in: bool) -> None:
        """Many short lives see more than one that is mostly over."""
        self.begin(jitter_secs, signs_in)

    @precondition(lambda self: self.question is None and not self.closed)
    @rule(data=st.data())
    def client_says(self, data: st.DataObject) -> None:
        self.say(data.draw(CLIENT_TEXTS[self.dialect], "text"))

    @precondition(lambda self: self.question is None and self.authenticated and not self.closed)
    @rule(bob=st.booleans(), life_secs=st.floats(1, 900))
    def client_sends_another_token(self, bob: bool, life_secs: float) -> None:
        self.run(self.driven.say("raw.token"))
        if isinstance(self.question, Verify):
            self.token_is_good(bob=bob, life_secs=life_secs)

    @precondition(lambda self: self.question is None and not self.closed)
    @rule(times=st.sampled_from([1, 1, 2, 2, 3, 5]))
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
            self.streams_open(denied=set(), verdicts=[new()] * OPENED_MAX)

    @precondition(lambda self: isinstance(self.question, Verify))
    @rule(bob=st.integers(0, 9).map(lambda dice: dice == 0), life_secs=st.floats(-5, 900))
    def token_is_good(self, bob: bool, life_secs: float) -> None:
        user = BOB if bob else ALICE
        self.good_token = True
        self.user = self.user or (None if self.closed else user)
        identity = Identity(user, "name", self.driven.clock.wall + life_secs, "mark", "password")
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
    @rule(denied=st.sets(st.sampled_from(TOPICS)), verdicts=_verdicts)
    def streams_open(self, denied: set[str], verdicts: Sequence[Verdict]) -> None:
        if isinstance(self.question, Open):
            assert self.question.streams == (user_stream(str(self.user)), ALL)
            assert all(isinstance(cursor, Cursor) for cursor in self.question.since.values())
            topics = {name: None if name in denied else topic_stream(name) for name in self.question.topics}
            streams = [*self.question.streams, *(stream for stream in topics.values() if stream is not None)]
            self.verdicts = dict(zip(streams, verdicts, strict=False))
            self.answer(self.session.opened(self.driven.clock.now, topics, self.verdicts))
            assert not [one for one in self.held.values() if one.stream in self.cursors], "held, and not written"
        elif isinstance(self.question, Subscribe):
            assert isinstance(self.session, V1Session)
            topic, ref = self.question.topic, self.question.ref
            verdict = DENIED if topic in denied else verdicts[0]
            self.verdicts = {topic_stream(topic): verdict}
            self.answer(self.session.subscribed(topic, ref, topic_stream(topic), verdict))

    @precondition(lambda self: isinstance(self.question, Open | Subscribe))
    @rule()
    def rules_have_no_verdict(self) -> None:
        self.answer(self.session.reconnect(CloseCode.RESYNC, 1_000, "database"))
        assert self.closed

    @precondition(lambda self: not self.closed)
    @rule(secs=st.floats(0, 1) | st.floats(0, 30) | st.floats(0, 120), early=st.booleans())
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
        wanted = stream in self.cursors and self.has_room
        if self.session.state is State.OPENING and len(self.held) < MAX_HELD_EVENTS:
            self.held[one.frame] = one
        assert self.session.deliver(one) is wanted
        if wanted:
            self.written(one.frame)

    @precondition(lambda self: not self.closed)
    @rule(stream=st.sampled_from(STREAMS), seq=st.integers(1, 30), epoch=_epochs)
    def some_durable_event_comes(self, stream: Stream, seq: int, epoch: str) -> None:
        self.offer(durable(stream, seq, epoch))

    @precondition(lambda self: self.cursors)
    @rule(data=st.data(), ahead=st.sampled_from([1, 1, 2, 0, -1]), other_epoch=_seldom)
    def likely_durable_event_comes(self, data: st.DataObject, ahead: int, other_epoch: bool) -> None:
        """The next one, a copy, one behind a hole; or just that, but of another numbering."""
        stream = data.draw(st.sampled_from(sorted(self.cursors)), "stream")
        epoch, seq = self.cursors[stream]
        self.offer(durable(stream, max(1, seq + ahead), "e9" if other_epoch else epoch))

    @precondition(lambda self: self.cursors)
    @rule(data=st.data(), times=st.integers(1, 300), size=st.sampled_from([100, 5_000, 262_144]))
    def durable_events_pour_in(self, data: st.DataObject, times: int, size: int) -> None:
        """Each the next one, until the window is full."""
        self.pour(data.draw(st.sampled_from(sorted(self.cursors))), times, size)

    @precondition(lambda self: not self.closed)
    @rule(stream=st.sampled_from(STREAMS), head=_heads, epoch=_epochs, reason=st.sampled_from(GapReason))
    def stream_breaks(self, stream: Stream, head: int, epoch: str, reason: GapReason) -> None:
        actions = self.session.gap(stream, Head(epoch, head, 0), reason)
        assert len(actions) == (stream in self.cursors and self.dialect == "v1")
        if stream in self.cursors:
            # What a GAP tells; a seed client is told nothing, and goes on all the same.
            self.cursors[stream] = Cursor(epoch, head)
            self.waiting.discard(stream)
        self.run(actions)

    @precondition(lambda self: not self.closed)
    @rule(stream=st.sampled_from(STREAMS))
    def somebody_asks_where_it_stands(self, stream: Stream) -> None:
        if self.has_room or stream not in self.cursors:
            assert self.session.wants(stream) == self.cursors.get(stream)
        else:
            assert self.session.wants(stream) is None
            self.waiting.add(stream)

    @precondition(lambda self: not self.closed)
    @rule(secs=st.sampled_from([0.0, 1.0, 15.0, 31.0]))
    def slow_readers_are_looked_for(self, secs: float) -> None:
        now = self.driven.clock.advance(secs)
        if self.session.is_overdue(now.mono):
            assert self.authenticated
            assert len(self.sizes) > self.acked
            assert now.mono - self.owes_since >= ACK_TIMEOUT_SECS
            self.run(self.session.close(CloseCode.TOO_SLOW))
            assert self.closed

    @precondition(lambda self: not self.closed)
    @rule(way=st.sampled_from(["drain", "slow", "gone", "binary", "text"]), data=st.data())
    def it_ends(self, way: str, data: st.DataObject) -> None:
        """One of six times, so that some lives are long."""
        if data.draw(st.integers(0, 5), "spared"):
            return
        if way == "drain":
            self.run(self.session.reconnect(CloseCode.DRAIN, 500, "drain"))
        elif way == "slow":
            self.run(self.session.close(CloseCode.TOO_SLOW))
        elif way == "gone":
            self.session.disconnected()
            self.closed = True
            self.cursors = {}
        elif self.question is None:
            if way == "binary":
                self.run(self.session.binary_received())
            else:
                self.run(self.driven.say(data.draw(FATAL_TEXTS[self.dialect], "text")))
            assert self.closed

    def say(self, text: str) -> None:
        self.acknowledge(text)
        self.run(self.driven.say(text))

    def pour(self, stream: Stream, times: int, size: int) -> None:
        for _ in range(times):
            epoch, seq = self.cursors[stream]
            if self.offer(replace(durable(stream, seq + 1, epoch), size=size)) is not Taken.SENT:
                return

    def offer(self, one: Event) -> Taken:
        taken = self.session.take(one)
        assert taken is self.expected(one)
        if taken is Taken.SENT:
            self.by_frame[one.frame] = one
            self.written(one.frame)
        elif taken is Taken.FULL:
            self.waiting.add(one.stream)
        return taken

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
            self.cursors = {}
        elif isinstance(action, Leave):
            del self.cursors[action.stream]
            self.waiting.discard(action.stream)
        elif isinstance(action, CatchUp):
            assert len(action.streams) == len(set(action.streams))
            assert set(action.streams) == self.waiting
            self.waiting = set()
            for stream in action.streams:
                self.pour(stream, 20, 100)

    # The model -----------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        unacked = self.sizes[self.acked :]
        return self.dialect == "seed" or (len(unacked) < WINDOW_EVENTS and sum(unacked) < WINDOW_BYTES)

    def expected(self, one: Event) -> Taken:
        at = self.cursors.get(one.stream)
        if at is None:
            return Taken.UNWANTED
        if one.epoch != at.epoch or one.seq <= at.seq:
            return Taken.COPY
        if one.seq > at.seq + 1:
            return Taken.BEHIND
        return Taken.SENT if self.has_room else Taken.FULL

    def acknowledge(self, text: str) -> None:
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(frame, dict) and frame.get("id") == "ACK" and isinstance(frame.get("data"), dict):
            received = frame["data"].get("n")
            if type(received) is int and self.acked < received <= len(self.sizes):
                self.acked = received
                self.owes_since = self.driven.clock.mono

    def written(self, text: str) -> None:
        assert not self.closed, "a frame after the end"
        one = self.by_frame.get(text)
        if one is not None:
            self.event_written(one)
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

    def event_written(self, one: Event) -> None:
        assert self.authenticated, "an event before AUTH OK"
        self.held.pop(one.frame, None)
        assert one.stream in self.cursors, f"an event of {one.stream}"
        assert self.has_room, "an event beyond the window"
        if len(self.sizes) == self.acked:
            self.owes_since = self.driven.clock.mono
        self.sizes.append(one.size)
        if one.seq:
            epoch, seq = self.cursors[one.stream]
            assert (one.epoch, one.seq) == (epoch, seq + 1)
            self.cursors[one.stream] = Cursor(epoch, one.seq)

    def follow(self, frame_id: str, data: dict[str, Any]) -> None:
        if frame_id == "AUTH OK":
            assert self.good_token
            if not self.authenticated:
                self.cursors = {stream: verdict.cursor for stream, verdict in self.verdicts.items()}
                if self.dialect == "v1":
                    told = {name: cursor_of(shown) for name, shown in data["streams"].items()}
                    assert {name: cursor for name, cursor in told.items() if cursor} == self.cursors
            self.authenticated = True
            self.failures = 0
        elif frame_id == "AUTH FAILED":
            self.failures += 1
            # One stale answer to a refresh is forgiven.
            assert self.failures <= MAX_AUTH_ATTEMPTS + self.authenticated
        elif frame_id == "AUTH REQUEST" and self.last_id != "AUTH FAILED":
            self.failures = 0
        elif frame_id == "SUBSCRIBED":
            stream, cursor = Stream(data["stream"]), cursor_of(data)
            if stream in self.cursors:
                # Once more: it says where the session stands.
                assert (data["state"], cursor) == ("new", self.cursors[stream])
            elif cursor is not None:
                assert cursor == self.verdicts[stream].cursor
                self.cursors[stream] = cursor
        elif frame_id == "GAP":
            assert self.cursors[Stream(data["stream"])] == Cursor(data["epoch"], data["seq"])

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
        assert self.session.streams == self.cursors.keys()
        for stream, cursor in self.cursors.items():
            assert self.session.position(stream) == cursor

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        assert self.closed or not self.waiting or not self.has_room


def cursor_of(shown: dict[str, Any]) -> Cursor | None:
    """Where a client goes on, by what it was told; None where it was denied."""
    if shown["state"] == "denied":
        return None
    return Cursor(shown["epoch"], shown["seq"] - shown["replay"])
