"""The dialect realtime.v1, rule by rule (docs/protocol.md, section 2, "realtime.v1")."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from apps.realtime.core.codes import HEARTBEAT, CloseCode, ErrorCode
from apps.realtime.core.names import ALL, topic_stream, user_stream
from apps.realtime.core.session import (
    CLIENT_FRAMES_PER_MIN,
    Action,
    Close,
    Leave,
    Open,
    Send,
    Session,
    Subscribe,
    Verify,
)
from apps.realtime.core.v1 import REF_MAX_CHARS, WINDOW_EVENTS, V1Session, error_frame

from .driver import ALICE, AUTH_TIMEOUT_SECS, HEARTBEAT_SECS, MAX_TOPICS, Driven, close_code, event, frames, ids
from .machine import TOPICS, SessionMachine

NEW = {"epoch": None, "seq": 0, "state": "new", "replay": 0}
DENIED = NEW | {"state": "denied"}


@pytest.fixture
def driven() -> Driven:
    """A session that offered the subprotocol."""
    return Driven("v1")


def v1(session: Session) -> V1Session:
    assert isinstance(session, V1Session)
    return session


def auth(token: Any = "raw.token", **data: Any) -> dict[str, Any]:
    return {"id": "AUTH", "data": {"token": token} | data}


def ask(frame_id: str, topic: Any, ref: Any = None) -> dict[str, Any]:
    return {"id": frame_id, "data": {"topic": topic, "ref": ref}}


def error(actions: list[Action]) -> dict[str, Any]:
    """The data of the one ERROR that was sent."""
    [frame] = frames(actions)
    assert frame["id"] == "ERROR"
    data = frame["data"]
    assert set(data) == {"code", "ref", "message"}
    assert isinstance(data["message"], str)
    return dict(data)


# AUTH --------------------------------------------------------------------------------------------


def test_auth_request_says_why_which_attempt_and_by_when(driven: Driven) -> None:
    by = driven.clock.wall + AUTH_TIMEOUT_SECS
    [asked] = frames(driven.connect())
    assert asked == {"id": "AUTH REQUEST", "data": {"reason": "connect", "attempt": 1, "by": by}}
    driven.clock.advance(4)
    _, again = frames(driven.token(accept=False))
    assert again == {"id": "AUTH REQUEST", "data": {"reason": "rejected", "attempt": 2, "by": by}}


def test_the_refresh_request_names_the_expiry(driven: Driven) -> None:
    expires_at = driven.clock.wall + 900
    driven.sign_in(life_secs=900)
    driven.say(HEARTBEAT)
    asked: list[dict[str, Any]] = []
    for _ in range(84):
        asked += [frame for frame in frames(driven.tick(10)) if frame["id"] == "AUTH REQUEST"]
        driven.say(HEARTBEAT)
    assert asked == [{"id": "AUTH REQUEST", "data": {"reason": "expiring", "attempt": 1, "by": expires_at}}]
    _, again = frames(driven.token(accept=False))
    assert again["data"] == {"reason": "rejected", "attempt": 1, "by": expires_at}


def test_auth_failed_says_when_it_is_final(driven: Driven) -> None:
    driven.connect()
    failures = [frame for _ in range(3) for frame in frames(driven.token(accept=False)) if frame["id"] == "AUTH FAILED"]
    assert [failure["data"] for failure in failures] == [
        {"code": "token_refused", "final": False},
        {"code": "token_refused", "final": False},
        {"code": "token_refused", "final": True},
    ]


def test_one_round_trip_authenticates_and_subscribes(driven: Driven) -> None:
    driven.connect()
    assert driven.say(auth("t", topics=["news", "order-1", "news"])) == [Verify("t")]
    assert driven.accept() == [Open((user_stream(ALICE), ALL), ("news", "order-1"))]
    actions = driven.session.opened(driven.clock.now, {"news": topic_stream("news"), "order-1": None})
    [ok] = frames(actions)
    assert ok == {
        "id": "AUTH OK",
        "data": {
            "sid": "sid-1",
            "user": ALICE,
            "exp": driven.clock.wall + 900,
            "now": driven.clock.wall,
            "heartbeat": HEARTBEAT_SECS,
            "window": WINDOW_EVENTS,
            "streams": {
                "user.7": NEW,
                "all": NEW,
                "topic.news": NEW | {"topic": "news"},
                "topic.order-1": DENIED | {"topic": "order-1"},
            },
        },
    }
    assert driven.session.deliver(event(topic_stream("news")))
    assert not driven.session.deliver(event(topic_stream("order-1")))


def test_a_denied_topic_stands_under_its_escaped_name(driven: Driven) -> None:
    driven.connect()
    driven.say(auth(topics=["a.#"]))
    driven.accept()
    [ok] = frames(driven.session.opened(driven.clock.now, {"a.#": None}))
    assert ok["data"]["streams"]["topic.a%2E%23"] == DENIED | {"topic": "a.#"}


def test_a_raw_token_asks_for_no_topics_even_after_an_auth_that_did(driven: Driven) -> None:
    driven.connect()
    driven.say(auth(topics=["news"]))
    driven.refuse()
    assert driven.token(accept=True) == [Open((user_stream(ALICE), ALL), ())]


def test_a_refresh_announces_no_streams(driven: Driven) -> None:
    driven.sign_in(topics=["news"])
    driven.say(auth("newer"))
    [ok] = frames(driven.accept(life_secs=1_000))
    assert ok["data"]["streams"] == {}
    assert ok["data"]["exp"] == driven.clock.wall + 1_000
    assert driven.session.deliver(event(topic_stream("news")))


@pytest.mark.parametrize("since", [None, {}, {"user.7": {"epoch": "e", "seq": -1}}, "x", {"all": {"seq": 2**63}}, [1]])
def test_since_is_not_looked_at_yet(driven: Driven, since: Any) -> None:
    driven.connect()
    assert driven.say(auth(since=since)) == [Verify("raw.token")]


@pytest.mark.parametrize(
    "frame",
    [
        {"id": "AUTH"},
        {"id": "AUTH", "data": {}},
        auth(None),
        auth(5),
        auth(["x"]),
        auth(topics="news"),
        auth(topics=[1]),
        auth(topics=None),
        auth(topics=[""]),
        auth(topics=["x" * 256]),
        auth(topics=["\ud800"]),
        auth(topics=[str(number) for number in range(MAX_TOPICS + 1)]),
        auth(ref=1.5),
    ],
)
def test_an_auth_that_is_malformed_is_told_and_is_no_attempt(driven: Driven, frame: dict[str, Any]) -> None:
    driven.connect()
    assert error(driven.say(frame))["code"] == ErrorCode.BAD_FRAME
    assert [driven.token(accept=False) for _ in range(2)]
    assert driven.say(auth()) == [Verify("raw.token")]


# Frames ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "5",
        '"AUTH"',
        "[]",
        "{}",
        '{"id": 5}',
        '{"id": ["AUTH"]}',
        '{"id": "AUTH OK"}',
        '{"id": "comment/ADDED"}',
        '{"id": "<3"}',
        '{"id": "AUTH", "data": []}',
        '{"id": "SUBSCRIBE", "data": null}',
        '{"id": "RECONNECT", "data": {"ref": true}}',
        json.dumps({"id": "SUBSCRIBE", "data": {"ref": {}}}),
        json.dumps({"id": "SUBSCRIBE", "data": {"ref": "x" * (REF_MAX_CHARS + 1)}}),
        json.dumps({"id": "SUBSCRIBE", "data": {"ref": 10**REF_MAX_CHARS}}),
        "[" * 9_000,
        "[" * 4_000 + "]" * 4_000,
        '{"id": "AUTH"',
        "NaN",
    ],
    ids=lambda text: text[:40],
)
def test_a_frame_that_is_json_and_nothing_we_know_is_told_and_the_socket_stays(driven: Driven, text: str) -> None:
    driven.sign_in()
    assert error(driven.say(text))["code"] == ErrorCode.BAD_FRAME
    assert error(driven.say(text))["ref"] is None
    assert ids(driven.token(accept=True)) == ["AUTH OK"]


def test_an_error_names_the_frame_by_its_ref(driven: Driven) -> None:
    driven.sign_in()
    assert error(driven.say({"id": "HELLO", "data": {"ref": "r-1"}}))["ref"] == "r-1"
    assert error(driven.say(ask("SUBSCRIBE", 5, 17)))["ref"] == 17


def test_a_lone_surrogate_comes_back_as_it_came(driven: Driven) -> None:
    driven.sign_in()
    [action] = driven.say({"id": "SUBSCRIBE", "data": {"topic": "", "ref": "\ud800"}})
    assert isinstance(action, Send)
    action.text.encode()
    assert json.loads(action.text)["data"]["ref"] == "\ud800"


def test_ack_is_exempt_from_the_rate_limit(driven: Driven) -> None:
    driven.sign_in()
    for _ in range(10 * CLIENT_FRAMES_PER_MIN):
        assert driven.say({"id": "ACK", "data": {"n": 5}}) == []
    assert driven.say('{"id": "ACK"}') == []


@pytest.mark.parametrize("text", ["raw.token", "{}"])
def test_too_many_frames_are_told_and_end_with_4502(driven: Driven, text: str) -> None:
    driven.connect()
    for _ in range(CLIENT_FRAMES_PER_MIN):
        assert error(driven.say("{}"))["code"] == ErrorCode.BAD_FRAME
    actions = driven.say(text)
    assert error(actions[:1])["code"] == ErrorCode.RATE_LIMITED
    assert close_code(actions) == CloseCode.PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    ("provoke", "code"),
    [
        (lambda driven: driven.session.binary_received(), ErrorCode.BINARY_FRAME),
        (lambda driven: driven.say("x" * 20_000), ErrorCode.FRAME_TOO_LARGE),
    ],
)
def test_a_violation_is_told_before_4502(driven: Driven, provoke: Any, code: ErrorCode) -> None:
    driven.connect()
    actions = provoke(driven)
    assert error(actions[:1])["code"] == code
    assert close_code(actions) == CloseCode.PROTOCOL_VIOLATION


def test_an_error_for_a_socket_that_is_no_session() -> None:
    assert json.loads(error_frame(ErrorCode.ORIGIN_REFUSED, "why")) == {
        "id": "ERROR",
        "data": {"code": "origin_refused", "ref": None, "message": "why"},
    }


# Topics ------------------------------------------------------------------------------------------


def test_subscribe_opens_a_topic_and_tells(driven: Driven) -> None:
    driven.sign_in()
    stream = topic_stream("news")
    assert driven.say(ask("SUBSCRIBE", "news", "r1")) == [Subscribe("news", "r1")]
    assert not driven.session.deliver(event(stream))
    [told] = frames(v1(driven.session).subscribed("news", "r1", stream))
    assert told == {"id": "SUBSCRIBED", "data": NEW | {"topic": "news", "ref": "r1", "stream": "topic.news"}}
    assert driven.session.deliver(event(stream))


def test_a_denied_topic_is_told_and_stays_closed(driven: Driven) -> None:
    driven.sign_in()
    driven.say(ask("SUBSCRIBE", "secret", 2))
    [told] = frames(v1(driven.session).subscribed("secret", 2, None))
    assert told == {"id": "SUBSCRIBED", "data": DENIED | {"topic": "secret", "ref": 2, "stream": "topic.secret"}}
    assert not driven.session.deliver(event(topic_stream("secret")))
    # It may ask again: rights change.
    assert driven.say(ask("SUBSCRIBE", "secret", 3)) == [Subscribe("secret", 3)]


def test_subscribing_twice_is_told_twice_and_done_once(driven: Driven) -> None:
    driven.sign_in(topics=["news"])
    [told] = frames(driven.say(ask("SUBSCRIBE", "news", 4)))
    assert told == {"id": "SUBSCRIBED", "data": NEW | {"topic": "news", "ref": 4, "stream": "topic.news"}}


def test_unsubscribe_leaves_and_tells(driven: Driven) -> None:
    driven.sign_in(topics=["news"])
    left = driven.say(ask("UNSUBSCRIBE", "news", 5))
    assert left[0] == Leave(topic_stream("news"))
    assert frames(left) == [{"id": "UNSUBSCRIBED", "data": {"topic": "news", "ref": 5}}]
    assert not driven.session.deliver(event(topic_stream("news")))
    # Unsubscribing from what one does not hear is answered alike.
    assert ids(driven.say(ask("UNSUBSCRIBE", "news", 6))) == ["UNSUBSCRIBED"]


def test_a_socket_hears_a_bounded_number_of_topics(driven: Driven) -> None:
    names = [f"t{number}" for number in range(MAX_TOPICS)]
    driven.sign_in(topics=names)
    assert error(driven.say(ask("SUBSCRIBE", "more", 1)))["code"] == ErrorCode.TOO_MANY_TOPICS
    driven.say(ask("UNSUBSCRIBE", names[0]))
    assert driven.say(ask("SUBSCRIBE", "more", 1)) == [Subscribe("more", 1)]


@pytest.mark.parametrize("topic", [None, 5, "", "x" * 256, "\ud800", ["news"], {}])
@pytest.mark.parametrize("frame_id", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_a_topic_that_can_be_no_name_is_told(driven: Driven, frame_id: str, topic: Any) -> None:
    driven.sign_in()
    assert error(driven.say(ask(frame_id, topic, 1)))["code"] == ErrorCode.BAD_TOPIC


@pytest.mark.parametrize("frame_id", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_topics_come_after_auth(driven: Driven, frame_id: str) -> None:
    driven.connect()
    assert error(driven.say(ask(frame_id, "news", 1)))["code"] == ErrorCode.NOT_AUTHENTICATED


def test_a_topic_that_opens_after_the_end_is_not_told(driven: Driven) -> None:
    driven.sign_in()
    driven.say(ask("SUBSCRIBE", "news"))
    driven.session.disconnected()
    assert v1(driven.session).subscribed("news", None, topic_stream("news")) == []
    assert driven.session.streams == set()


# Heartbeat and the end ---------------------------------------------------------------------------


def test_two_missed_echoes_close_4005(driven: Driven) -> None:
    driven.sign_in()
    assert driven.tick(HEARTBEAT_SECS) == [Send(HEARTBEAT)]
    assert driven.tick(HEARTBEAT_SECS) == [Send(HEARTBEAT)]
    assert driven.tick(HEARTBEAT_SECS) == [Close(CloseCode.HEARTBEAT_MISSED)]


def test_an_echo_in_time_keeps_the_socket(driven: Driven) -> None:
    driven.sign_in()
    for _ in range(5):
        assert driven.tick(HEARTBEAT_SECS) == [Send(HEARTBEAT)]
        assert driven.tick(HEARTBEAT_SECS) == [Send(HEARTBEAT)]
        assert driven.say(HEARTBEAT) == []


def test_reconnect_says_when_and_why_and_then_closes(driven: Driven) -> None:
    driven.sign_in()
    actions = driven.session.reconnect(CloseCode.DRAIN, 1_234, "drain")
    assert frames(actions) == [{"id": "RECONNECT", "data": {"after_ms": 1_234, "reason": "drain"}}]
    assert close_code(actions) == CloseCode.DRAIN


def test_with_the_database_gone_there_is_neither_auth_ok_nor_gap_but_reconnect(driven: Driven) -> None:
    driven.connect()
    driven.say(auth())
    actions = driven.session.unavailable(3_000)
    assert frames(actions) == [{"id": "RECONNECT", "data": {"after_ms": 3_000, "reason": "database"}}]
    assert close_code(actions) == CloseCode.RESYNC


class V1Machine(SessionMachine):
    """The v1 session under random frames, tokens and timings."""

    dialect = "v1"

    @precondition(lambda self: self.question is None and self.authenticated and not self.closed)
    @rule(topic=st.sampled_from(TOPICS), subscribe=st.booleans(), ref=st.none() | st.integers())
    def client_changes_topics(self, topic: str, subscribe: bool, ref: int | None) -> None:
        self.run(self.driven.say(ask("SUBSCRIBE" if subscribe else "UNSUBSCRIBE", topic, ref)))


TestV1Machine = V1Machine.TestCase
TestV1Machine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
