"""The dialect realtime.v1, rule by rule (docs/protocol.md, section 2, "realtime.v1")."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from apps.realtime.core import resume
from apps.realtime.core.actions import Acknowledged, Action, CatchUp, Close, Leave, Open, Send, Subscribe, Taken, Verify
from apps.realtime.core.codes import HEARTBEAT, CloseCode, ErrorCode, GapReason
from apps.realtime.core.names import ALL, topic_stream, user_stream
from apps.realtime.core.resume import CORRUPT, Cursor, Head
from apps.realtime.core.session import CLIENT_FRAMES_PER_MIN, Session
from apps.realtime.core.v1 import REF_MAX_CHARS, V1Session, error_frame
from apps.realtime.core.window import ACK_TIMEOUT_SECS, WINDOW_EVENTS

from .driver import (
    ALICE,
    AUTH_TIMEOUT_SECS,
    EPOCH,
    HEARTBEAT_SECS,
    MAX_TOPICS,
    Driven,
    close_code,
    durable,
    event,
    frames,
    gap,
    ids,
    new,
    recovered,
)
from .machine import TOPICS, SessionMachine

NEW = {"epoch": EPOCH, "seq": 0, "state": "new", "replay": 0}
MINE, NEWS = user_stream(ALICE), topic_stream("news")
DENIED = {"epoch": None, "seq": 0, "state": "denied", "replay": 0}


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


def ack(received: Any) -> dict[str, Any]:
    return {"id": "ACK", "data": {"n": received}}


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
    assert driven.accept() == [Open((user_stream(ALICE), ALL), ("news", "order-1"), {})]
    actions = driven.open({"news": topic_stream("news"), "order-1": None})
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
    [ok] = frames(driven.open({"a.#": None}))
    assert ok["data"]["streams"]["topic.a%2E%23"] == DENIED | {"topic": "a.#"}


def test_a_raw_token_asks_for_no_topics_even_after_an_auth_that_did(driven: Driven) -> None:
    driven.connect()
    driven.say(auth(topics=["news"]))
    driven.refuse()
    assert driven.token(accept=True) == [Open((user_stream(ALICE), ALL), (), {})]


def test_a_refresh_announces_no_streams(driven: Driven) -> None:
    driven.sign_in(topics=["news"])
    driven.say(auth("newer"))
    [ok] = frames(driven.accept(life_secs=1_000))
    assert ok["data"]["streams"] == {}
    assert ok["data"]["exp"] == driven.clock.wall + 1_000
    assert driven.session.deliver(event(topic_stream("news")))


def test_auth_ok_says_how_each_stream_goes_on(driven: Driven) -> None:
    driven.connect()
    driven.say(auth(topics=["news", "order-1"]))
    driven.accept()
    topics = {"news": NEWS, "order-1": topic_stream("order-1")}
    verdicts = {
        MINE: recovered(40, 47),
        ALL: recovered(3, 3),
        NEWS: gap(900, GapReason.TOO_MANY),
        topic_stream("order-1"): new(8),
    }
    [ok] = frames(driven.open(topics, verdicts))
    assert ok["data"]["streams"] == {
        MINE: {"epoch": EPOCH, "seq": 47, "state": "recovered", "replay": 7},
        ALL: {"epoch": EPOCH, "seq": 3, "state": "recovered", "replay": 0},
        NEWS: {
            "epoch": EPOCH,
            "seq": 900,
            "state": "gap",
            "replay": 0,
            "reason": "too_many",
            "topic": "news",
        },
        topic_stream("order-1"): {"epoch": EPOCH, "seq": 8, "state": "new", "replay": 0, "topic": "order-1"},
    }


# since -------------------------------------------------------------------------------------------

CORRUPT_CURSORS: list[Any] = [
    None,
    "x",
    5,
    [],
    ["e", 1],
    {},
    {"epoch": "e"},
    {"seq": 1},
    {"epoch": None, "seq": 1},
    {"epoch": 5, "seq": 1},
    {"epoch": "e", "seq": "1"},
    {"epoch": "e", "seq": -1},
    {"epoch": "e", "seq": 2**63},
    {"epoch": "e", "seq": True},
    {"epoch": "e", "seq": 1.0},
    {"epoch": "e", "seq": None},
]


def test_since_is_handed_on_whatever_streams_it_names(driven: Driven) -> None:
    driven.connect()
    driven.say(auth(since={MINE: {"epoch": "e", "seq": 5}, "nobody's": {"epoch": "", "seq": 0}}))
    assert driven.accept() == [Open((MINE, ALL), (), {MINE: Cursor("e", 5), "nobody's": Cursor("", 0)})]


@pytest.mark.parametrize("cursor", CORRUPT_CURSORS, ids=repr)
def test_a_corrupt_cursor_is_no_error_but_will_be_a_gap(driven: Driven, cursor: Any) -> None:
    driven.connect()
    assert driven.say(auth(since={MINE: cursor, "all": {"epoch": "e", "seq": 2**63 - 1}})) == [Verify("raw.token")]
    assert driven.accept() == [Open((MINE, ALL), (), {MINE: CORRUPT, "all": Cursor("e", 2**63 - 1)})]


@pytest.mark.parametrize("since", [None, "x", 5, [], [["all", 1]], True], ids=repr)
def test_a_since_that_is_no_object_is_told(driven: Driven, since: Any) -> None:
    driven.connect()
    assert error(driven.say(auth(since=since)))["code"] == ErrorCode.BAD_FRAME
    assert driven.say(auth()) == [Verify("raw.token")]


def test_since_counts_with_the_token_that_came_with_it(driven: Driven) -> None:
    since = {MINE: {"epoch": "e", "seq": 5}}
    driven.connect()
    driven.say(auth(since=since))
    driven.refuse()
    driven.say("raw.token")
    assert driven.accept() == [Open((MINE, ALL), (), {})]


@pytest.mark.parametrize("cursor", CORRUPT_CURSORS[1:], ids=repr)
def test_subscribe_takes_a_cursor_of_its_own(driven: Driven, cursor: Any) -> None:
    driven.sign_in()
    frame = ask("SUBSCRIBE", "news", 1)
    frame["data"]["since"] = {"epoch": "e", "seq": 7}
    assert driven.say(frame) == [Subscribe("news", 1, Cursor("e", 7))]
    frame["data"]["since"] = cursor
    assert driven.say(frame) == [Subscribe("news", 1, CORRUPT)]
    frame["data"]["since"] = None
    assert driven.say(frame) == [Subscribe("news", 1, None)]


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
        assert driven.say(ack(0)) == []
    assert ids(driven.token(accept=True)) == ["AUTH OK"]


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
    assert driven.say(ask("SUBSCRIBE", "news", "r1")) == [Subscribe("news", "r1", None)]
    assert not driven.session.deliver(event(stream))
    [told] = frames(v1(driven.session).subscribed("news", "r1", stream, new()))
    assert told == {"id": "SUBSCRIBED", "data": NEW | {"topic": "news", "ref": "r1", "stream": "topic.news"}}
    assert driven.session.deliver(event(stream))


def test_a_denied_topic_is_told_and_stays_closed(driven: Driven) -> None:
    driven.sign_in()
    driven.say(ask("SUBSCRIBE", "secret", 2))
    [told] = frames(v1(driven.session).subscribed("secret", 2, topic_stream("secret"), resume.DENIED))
    assert told == {"id": "SUBSCRIBED", "data": DENIED | {"topic": "secret", "ref": 2, "stream": "topic.secret"}}
    assert not driven.session.deliver(event(topic_stream("secret")))
    # It may ask again: rights change.
    assert driven.say(ask("SUBSCRIBE", "secret", 3)) == [Subscribe("secret", 3, None)]


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


def test_it_says_what_it_listens_to_and_what_its_client_owes(driven: Driven) -> None:
    driven.sign_in(topics=["news", "order-1"])
    session = v1(driven.session)
    assert list(session.topics) == ["news", "order-1"]
    session.revoked(topic_stream("news"))
    assert list(session.topics) == ["order-1"]
    assert session.unacked == 0
    session.deliver(event(MINE))
    session.take(durable(MINE, 1))
    assert session.unacked == 2
    driven.say(ack(1))
    assert session.unacked == 1


def test_a_lost_right_ends_the_subscription_unasked(driven: Driven) -> None:
    driven.sign_in(topics=["news", "order-1"])
    session = v1(driven.session)
    taken = session.revoked(topic_stream("order-1"))
    assert taken[0] == Leave(topic_stream("order-1"))
    assert frames(taken) == [{"id": "UNSUBSCRIBED", "data": {"topic": "order-1", "reason": "revoked"}}]
    assert session.take(durable(topic_stream("order-1"), 1)) is Taken.UNWANTED
    assert not session.deliver(event(topic_stream("order-1")))
    assert session.take(durable(NEWS, 1)) is Taken.SENT
    # It may ask again: rights change.
    assert driven.say(ask("SUBSCRIBE", "order-1", 3)) == [Subscribe("order-1", 3, None)]


def test_a_lost_right_is_nothing_to_who_does_not_listen(driven: Driven) -> None:
    driven.sign_in(topics=["news"])
    session = v1(driven.session)
    assert session.revoked(topic_stream("order-1")) == []
    session.disconnected()
    assert session.revoked(NEWS) == []


def test_a_socket_hears_a_bounded_number_of_topics(driven: Driven) -> None:
    names = [f"t{number}" for number in range(MAX_TOPICS)]
    driven.sign_in(topics=names)
    assert error(driven.say(ask("SUBSCRIBE", "more", 1)))["code"] == ErrorCode.TOO_MANY_TOPICS
    driven.say(ask("UNSUBSCRIBE", names[0]))
    assert driven.say(ask("SUBSCRIBE", "more", 1)) == [Subscribe("more", 1, None)]


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
    assert v1(driven.session).subscribed("news", None, topic_stream("news"), new()) == []
    assert driven.session.streams == set()


def test_subscribed_says_how_the_topic_goes_on(driven: Driven) -> None:
    driven.sign_in()
    [told] = frames(v1(driven.session).subscribed("news", 1, NEWS, recovered(5, 7)))
    shown = {"epoch": EPOCH, "seq": 7, "state": "recovered", "replay": 2}
    assert told["data"] == shown | {"topic": "news", "ref": 1, "stream": NEWS}
    assert driven.session.take(durable(NEWS, 7)) is Taken.BEHIND
    assert driven.session.take(durable(NEWS, 6)) is Taken.SENT
    # Once more: from here on, and nothing begins anew.
    [told] = frames(driven.say(ask("SUBSCRIBE", "news", 2)))
    assert told["data"] == NEW | {"seq": 6, "topic": "news", "ref": 2, "stream": NEWS}
    assert driven.session.take(durable(NEWS, 7)) is Taken.SENT


def test_a_topic_that_was_left_gets_nothing_that_waited_for_room(driven: Driven) -> None:
    driven.sign_in(topics=["news"])
    for seq in range(1, WINDOW_EVENTS + 1):
        driven.session.take(durable(NEWS, seq))
    assert driven.session.take(durable(NEWS, WINDOW_EVENTS + 1)) is Taken.FULL
    driven.say(ask("UNSUBSCRIBE", "news"))
    assert driven.session.wants(NEWS) is None
    assert driven.session.take(durable(NEWS, WINDOW_EVENTS + 1)) is Taken.UNWANTED
    assert driven.say(ack(WINDOW_EVENTS)) == []


# Credit ------------------------------------------------------------------------------------------


def fill(driven: Driven) -> None:
    """Sign in, and write until there is no room: half of it ephemeral, half of it durable."""
    driven.sign_in()
    for seq in range(1, WINDOW_EVENTS // 2 + 1):
        assert driven.session.deliver(event(ALL))
        assert driven.session.take(durable(MINE, seq)) is Taken.SENT
    assert driven.session.window_is_full
    assert driven.session.unacked == WINDOW_EVENTS


def test_with_the_window_full_ephemeral_events_are_dropped_and_durable_ones_wait(driven: Driven) -> None:
    fill(driven)
    at, following = WINDOW_EVENTS // 2, durable(MINE, WINDOW_EVENTS // 2 + 1)
    assert not driven.session.deliver(event(ALL))
    assert driven.session.take(following) is Taken.FULL
    assert driven.session.position(MINE) == Cursor(EPOCH, at)
    assert driven.say(ack(0)) == []
    assert driven.say(ack(1)) == [CatchUp((MINE,))]
    assert driven.session.take(following) is Taken.SENT
    # Only who found it full is called.
    assert driven.say(ack(2)) == []


def test_who_asks_where_a_session_stands_is_called_when_there_is_room(driven: Driven) -> None:
    fill(driven)
    assert driven.session.wants(MINE) is None
    assert driven.session.wants(NEWS) is None
    [again] = driven.say(ack(1))
    assert again == CatchUp((MINE,))
    assert driven.session.wants(MINE) == Cursor(EPOCH, WINDOW_EVENTS // 2)


def test_the_window_is_one_for_all_streams(driven: Driven) -> None:
    fill(driven)
    assert driven.session.take(durable(MINE, WINDOW_EVENTS // 2 + 1)) is Taken.FULL
    assert driven.session.take(durable(ALL, 1)) is Taken.FULL
    [again] = driven.say(ack(WINDOW_EVENTS))
    assert isinstance(again, CatchUp)
    assert set(again.streams) == {MINE, ALL}


def test_a_replay_counts_against_the_window(driven: Driven) -> None:
    driven.sign_in(verdicts={MINE: recovered(100, 500)})
    sent = [seq for seq in range(101, 501) if driven.session.take(durable(MINE, seq)) is Taken.SENT]
    assert sent == list(range(101, 101 + WINDOW_EVENTS))


def test_held_events_count_against_the_window(driven: Driven) -> None:
    driven.connect()
    driven.token(accept=True)
    for _ in range(3):
        driven.session.deliver(event(MINE))
    driven.open()
    assert error(driven.say(ack(4))[:1])["code"] == ErrorCode.BAD_FRAME


def test_a_renewal_does_not_restart_the_count(driven: Driven) -> None:
    driven.sign_in()
    for _ in range(5):
        assert driven.session.deliver(event(MINE))
    assert driven.say(ack(3)) == []
    driven.say(auth("newer"))
    driven.accept(life_secs=1_000)
    assert driven.session.deliver(event(MINE))
    assert driven.say(ack(6)) == []
    assert error(driven.say(ack(7))[:1])["code"] == ErrorCode.BAD_FRAME


def test_after_a_gap_nothing_is_caught_up(driven: Driven) -> None:
    fill(driven)
    assert driven.session.take(durable(MINE, WINDOW_EVENTS // 2 + 1)) is Taken.FULL
    driven.session.gap(MINE, Head(EPOCH, 900, 900), GapReason.TRIMMED)
    assert driven.say(ack(WINDOW_EVENTS)) == []
    assert driven.session.take(durable(MINE, 901)) is Taken.SENT


def test_who_wants_to_know_is_told_what_the_client_has_of_its_user_s_stream() -> None:
    driven = Driven("v1", tells_acknowledged=True)
    driven.sign_in(topics=["news"])
    for stream in (ALL, NEWS, MINE):
        assert driven.session.take(durable(stream, 1)) is Taken.SENT
    assert driven.session.deliver(event(MINE))
    assert driven.session.take(durable(MINE, 2)) is Taken.SENT
    assert driven.say(ack(2)) == []
    assert driven.say(ack(4)) == [Acknowledged(MINE, Cursor(EPOCH, 1))]
    assert driven.say(ack(4)) == []
    # And what waited for room.
    for seq in range(3, WINDOW_EVENTS + 3):
        driven.session.take(durable(MINE, seq))
    full = 5 + WINDOW_EVENTS - 1
    assert driven.say(ack(full)) == [Acknowledged(MINE, Cursor(EPOCH, full - 3)), CatchUp((MINE,))]


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (recovered(4, 6), [Acknowledged(MINE, Cursor(EPOCH, 4))]),
        (new(), []),
        (gap(6, GapReason.EPOCH), []),
    ],
)
def test_a_cursor_that_the_stream_goes_on_from_is_an_acknowledgement(
    verdict: resume.Verdict, told: list[Action]
) -> None:
    driven = Driven("v1", tells_acknowledged=True)
    actions = driven.sign_in(verdicts={MINE: verdict})
    assert [action for action in actions if isinstance(action, Acknowledged)] == told
    quiet = Driven("v1")
    assert not any(isinstance(action, Acknowledged) for action in quiet.sign_in(verdicts={MINE: verdict}))


def test_nobody_is_told_of_a_session_that_ended_before_it_opened() -> None:
    driven = Driven("v1", tells_acknowledged=True)
    driven.connect()
    driven.token(accept=True)
    driven.session.close(CloseCode.REVOKED)
    assert driven.open(verdicts={MINE: recovered(4, 6)}) == []


@pytest.mark.parametrize("received", [3, 2**63, -1, 1.0, "1", True, None, [], {}], ids=repr)
def test_an_ack_of_what_was_not_sent_ends_with_4502(driven: Driven, received: Any) -> None:
    driven.sign_in()
    for seq in (1, 2):
        driven.session.take(durable(MINE, seq))
    actions = driven.say(ack(received))
    assert error(actions[:1])["code"] == ErrorCode.BAD_FRAME
    assert close_code(actions) == CloseCode.PROTOCOL_VIOLATION


@pytest.mark.parametrize("frame", ['{"id": "ACK"}', '{"id": "ACK", "data": 5}', '{"id": "ACK", "data": {}}'])
def test_an_ack_without_a_number_ends_with_4502(driven: Driven, frame: str) -> None:
    driven.sign_in()
    assert close_code(driven.say(frame)) == CloseCode.PROTOCOL_VIOLATION


def test_who_acknowledges_nothing_for_30_s_is_overdue(driven: Driven) -> None:
    driven.connect()
    assert not driven.session.is_overdue(driven.clock.mono)
    driven.token(accept=True)
    driven.open()
    driven.session.take(durable(MINE, 1))
    assert not driven.session.is_overdue(driven.clock.mono)
    assert not driven.session.is_overdue(driven.clock.mono + ACK_TIMEOUT_SECS - 1)
    assert driven.session.is_overdue(driven.clock.mono + ACK_TIMEOUT_SECS)
    driven.say(ack(1))
    assert not driven.session.is_overdue(driven.clock.mono + ACK_TIMEOUT_SECS)
    driven.session.take(durable(MINE, 2))
    driven.session.disconnected()
    assert not driven.session.is_overdue(driven.clock.mono + 1_000)


# GAP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", GapReason)
def test_a_gap_in_mid_connection_is_told_and_the_stream_goes_on_behind_it(driven: Driven, reason: GapReason) -> None:
    driven.sign_in()
    driven.session.take(durable(MINE, 1))
    told = driven.session.gap(MINE, Head("e2", 10, 8), reason)
    assert frames(told) == [{"id": "GAP", "data": {"stream": MINE, "epoch": "e2", "seq": 10, "reason": reason}}]
    assert driven.session.take(durable(MINE, 2)) is Taken.COPY
    assert driven.session.take(durable(MINE, 11)) is Taken.COPY
    assert driven.session.take(durable(MINE, 11, "e2")) is Taken.SENT


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

    @rule(topic=st.sampled_from(TOPICS))
    def right_is_lost(self, topic: str) -> None:
        """At any moment, also while the driver waits."""
        listened = topic_stream(topic) in self.cursors
        actions = v1(self.session).revoked(topic_stream(topic))
        assert len(actions) == (2 if listened else 0)
        self.run(actions)
        assert topic_stream(topic) not in self.cursors

    @precondition(lambda self: self.question is None and self.cursors)
    @rule(data=st.data(), meanwhile=st.sampled_from(["asked", "asked", "broken", "left"]))
    def client_falls_behind_and_comes_up_again(self, data: st.DataObject, meanwhile: str) -> None:
        stream = data.draw(st.sampled_from(sorted(self.cursors)), "stream")
        self.pour(stream, WINDOW_EVENTS - len(self.sizes) + self.acked, 100)
        if meanwhile == "asked":
            self.somebody_asks_where_it_stands(stream)
        elif meanwhile == "broken":
            self.pour(stream, 1, 100)
            self.stream_breaks(stream, 5, "e2", GapReason.TRIMMED)
        else:
            self.pour(stream, 1, 100)
            self.client_changes_topics(data.draw(st.sampled_from(TOPICS), "topic"), False, None)
        self.say(json.dumps(ack(len(self.sizes))))

    @precondition(lambda self: self.question is None and self.sizes and not self.closed)
    @rule(behind=st.sampled_from([0, 0, 0, 0, 1, 1, 10, 255, -1]))
    def client_acknowledges(self, behind: int) -> None:
        """What it has received, or a little less; seldom more than that."""
        self.say(json.dumps(ack(max(0, len(self.sizes) - behind))))
        assert self.closed == (behind < 0)


TestV1Machine = V1Machine.TestCase
TestV1Machine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
