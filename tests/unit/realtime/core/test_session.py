"""What both dialects have in common, rule by rule (docs/protocol.md, section 2)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.core.actions import Close, Open, Send, Taken, Verify
from apps.realtime.core.codes import HEARTBEAT, CloseCode, GapReason
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from apps.realtime.core.resume import Cursor, Head
from apps.realtime.core.session import (
    CLIENT_FRAME_MAX_BYTES,
    CLIENT_FRAMES_PER_MIN,
    MAX_HELD_EVENTS,
    IllegalTransition,
    State,
)

from .driver import (
    ALICE,
    AUTH_TIMEOUT_SECS,
    BOB,
    DIALECTS,
    EPOCH,
    HEARTBEAT_SECS,
    Driven,
    close_code,
    durable,
    event,
    ids,
    new,
    recovered,
    texts,
)

MINE = user_stream(ALICE)


@pytest.fixture(params=DIALECTS)
def driven(request: Any) -> Driven:
    """A session of each dialect."""
    return Driven(request.param)


# Authentication ----------------------------------------------------------------------------------


def test_the_server_speaks_first(driven: Driven) -> None:
    assert ids(driven.connect()) == ["AUTH REQUEST"]


@pytest.mark.parametrize("text", ["a.b.c", "no_auth_token_user bad_token", "", "<4", " <3", "😀", "\ud800", "9" * 5000])
def test_a_text_that_is_neither_json_nor_a_heartbeat_is_a_raw_token(driven: Driven, text: str) -> None:
    driven.connect()
    assert driven.say(text) == [Verify(text)]


def test_a_good_token_opens_the_users_streams_and_then_comes_auth_ok(driven: Driven) -> None:
    driven.connect()
    assert driven.token(accept=True) == [Open((MINE, ALL), (), {})]
    assert driven.session.streams == set()
    assert ids(driven.open()) == ["AUTH OK"]
    assert driven.session.state is State.OPEN
    assert driven.session.streams == {MINE, ALL}


def test_auth_failed_three_times_at_most_each_but_the_last_with_a_new_request(driven: Driven) -> None:
    driven.connect()
    for _ in range(2):
        assert ids(driven.token(accept=False)) == ["AUTH FAILED", "AUTH REQUEST"]
    last = driven.token(accept=False)
    assert ids(last) == ["AUTH FAILED"]
    assert close_code(last) == CloseCode.AUTH_FAILED


def test_who_does_not_authenticate_is_closed_after_10_s(driven: Driven) -> None:
    driven.connect()
    assert driven.session.next_deadline == driven.clock.mono + AUTH_TIMEOUT_SECS
    assert driven.tick(AUTH_TIMEOUT_SECS - 0.5) == []
    assert driven.tick(0.5) == [Close(CloseCode.AUTH_TIMEOUT)]


def test_a_refused_token_gives_no_more_time(driven: Driven) -> None:
    driven.connect()
    driven.clock.advance(9)
    driven.token(accept=False)
    assert driven.tick(1) == [Close(CloseCode.AUTH_TIMEOUT)]


def test_the_deadline_holds_while_a_token_is_being_verified(driven: Driven) -> None:
    driven.connect()
    driven.say("raw.token")
    assert close_code(driven.tick(AUTH_TIMEOUT_SECS)) == CloseCode.AUTH_TIMEOUT
    assert driven.accept() == []
    assert driven.session.identity is None


def test_no_verdict_on_a_token_is_no_refusal(driven: Driven) -> None:
    driven.connect()
    driven.say("raw.token")
    actions = driven.session.unavailable(2_500)
    assert close_code(actions) == CloseCode.RESYNC
    assert "AUTH FAILED" not in ids(actions)


# Events ------------------------------------------------------------------------------------------


def test_no_event_before_auth_ok(driven: Driven) -> None:
    driven.connect()
    assert not driven.session.deliver(event(MINE))
    assert driven.token(accept=True) == [Open((MINE, ALL), (), {})]
    assert ids(driven.open()) == ["AUTH OK"]


def test_events_between_opening_and_auth_ok_follow_it_in_order(driven: Driven) -> None:
    driven.connect()
    driven.token(accept=True)
    mine, everybodys, foreign = event(MINE), event(ALL), event(user_stream(BOB))
    assert not any(driven.session.deliver(one) for one in (mine, everybodys, foreign))
    assert texts(driven.open())[1:] == [mine.frame, everybodys.frame]


def test_held_events_are_bounded_and_the_newest_are_dropped(driven: Driven) -> None:
    driven.connect()
    driven.token(accept=True)
    several = [event(MINE) for _ in range(MAX_HELD_EVENTS + 5)]
    assert not any(driven.session.deliver(one) for one in several)
    expected = [one.frame for one in several[:MAX_HELD_EVENTS]]
    assert texts(driven.open())[1:] == expected


@pytest.mark.parametrize("stream", [user_stream(BOB), topic_stream("news"), Stream("user.77")])
def test_an_event_of_another_stream_is_not_written(driven: Driven, stream: Stream) -> None:
    driven.sign_in()
    assert driven.session.deliver(event(MINE))
    assert driven.session.deliver(event(ALL))
    assert not driven.session.deliver(event(stream))


def test_nothing_happens_after_the_end(driven: Driven) -> None:
    driven.sign_in()
    assert driven.session.close(CloseCode.REVOKED) == [Close(CloseCode.REVOKED)]
    now = driven.clock.advance(1_000)
    assert driven.session.next_deadline is None
    assert not driven.session.deliver(event(MINE))
    assert driven.session.take(durable(MINE, 1)) is Taken.UNWANTED
    assert driven.session.gap(MINE, Head(EPOCH, 1, 0), GapReason.EPOCH) == []
    assert driven.say("raw.token") == []
    assert driven.say(HEARTBEAT) == []
    assert driven.session.binary_received() == []
    assert driven.session.tick(now) == []
    assert driven.session.close(CloseCode.DRAIN) == []
    assert driven.session.reconnect(CloseCode.DRAIN, 0, "drain") == []
    assert driven.open() == []
    assert driven.refuse() == []
    assert driven.session.unavailable(0) == []


def test_streams_that_open_after_the_end_bring_no_auth_ok(driven: Driven) -> None:
    driven.connect()
    driven.token(accept=True)
    driven.session.disconnected()
    assert driven.open() == []


# Durable events ----------------------------------------------------------------------------------


def test_no_durable_event_before_auth_ok_and_none_of_another_stream(driven: Driven) -> None:
    driven.connect()
    assert driven.session.take(durable(MINE, 1)) is Taken.UNWANTED
    driven.token(accept=True)
    # It is not held: it can be had at any time.
    assert driven.session.take(durable(MINE, 1)) is Taken.UNWANTED
    assert driven.session.wants(MINE) is None
    assert ids(driven.open()) == ["AUTH OK"]
    assert driven.session.take(durable(MINE, 1)) is Taken.SENT
    assert driven.session.take(durable(user_stream(BOB), 1)) is Taken.UNWANTED


def test_what_is_written_is_always_the_next_one(driven: Driven) -> None:
    driven.sign_in(verdicts={MINE: recovered(4, 7)})
    outcomes = [(seq, driven.session.take(durable(MINE, seq))) for seq in (4, 6, 5, 5, 7, 6, 8)]
    assert outcomes == [
        (4, Taken.COPY),
        (6, Taken.BEHIND),
        (5, Taken.SENT),
        (5, Taken.COPY),
        (7, Taken.BEHIND),
        (6, Taken.SENT),
        (8, Taken.BEHIND),
    ]
    assert driven.session.wants(MINE) == driven.session.position(MINE) == Cursor(EPOCH, 6)


def test_each_stream_has_a_position_of_its_own(driven: Driven) -> None:
    driven.sign_in(verdicts={MINE: new(4), ALL: new(0, "e9")})
    assert driven.session.take(durable(MINE, 5)) is Taken.SENT
    assert driven.session.take(durable(ALL, 5, "e9")) is Taken.BEHIND
    assert driven.session.take(durable(ALL, 1, "e9")) is Taken.SENT


def test_nothing_of_another_epoch_is_written_before_its_gap(driven: Driven) -> None:
    driven.sign_in(verdicts={MINE: new(4)})
    for seq in (1, 5, 6):
        assert driven.session.take(durable(MINE, seq, "e2")) is Taken.COPY
    driven.session.gap(MINE, Head("e2", 5, 0), GapReason.EPOCH)
    assert driven.session.take(durable(MINE, 5)) is Taken.COPY
    assert driven.session.take(durable(MINE, 6, "e2")) is Taken.SENT


def test_a_gap_of_a_stream_that_is_not_heard_says_nothing(driven: Driven) -> None:
    driven.connect()
    assert driven.session.gap(MINE, Head(EPOCH, 1, 0), GapReason.EPOCH) == []
    driven.token(accept=True)
    driven.open()
    assert driven.session.gap(user_stream(BOB), Head(EPOCH, 1, 0), GapReason.EPOCH) == []
    assert driven.session.wants(user_stream(BOB)) is None


@given(st.lists(st.integers(1, 12), max_size=60), st.sampled_from(sorted(DIALECTS)))
def test_whatever_comes_in_whatever_order_it_is_written_once_and_in_order(seqs: list[int], dialect: str) -> None:
    driven = Driven(dialect)
    driven.sign_in(verdicts={MINE: recovered(3, 9)})
    written = [seq for seq in seqs if driven.session.take(durable(MINE, seq)) is Taken.SENT]
    assert written == list(range(4, 4 + len(written)))


# Heartbeat ---------------------------------------------------------------------------------------


def test_the_heartbeat_is_a_text_every_45_s_with_jitter_on_top() -> None:
    for dialect in DIALECTS:
        driven = Driven(dialect, jitter_secs=8.0)
        driven.sign_in()
        for _ in range(2):
            assert driven.tick(HEARTBEAT_SECS + 7.5) == []
            assert driven.tick(0.5) == [Send(HEARTBEAT)]
            driven.say(HEARTBEAT)


def test_a_late_tick_sends_one_heartbeat(driven: Driven) -> None:
    driven.sign_in()
    assert driven.tick(HEARTBEAT_SECS * 2.5) == [Send(HEARTBEAT)]
    assert driven.tick(HEARTBEAT_SECS - 1) == []


# Expiry and refresh ------------------------------------------------------------------------------


def test_auth_request_comes_60_s_before_expiry_and_the_end_at_expiry(driven: Driven) -> None:
    driven.sign_in(life_secs=130)
    assert driven.tick(45) == [Send(HEARTBEAT)]
    driven.say(HEARTBEAT)
    assert driven.tick(24.5) == []
    assert ids(driven.tick(0.5)) == ["AUTH REQUEST"]
    assert driven.tick(59.5) == [Send(HEARTBEAT)]
    assert driven.tick(0.5) == [Close(CloseCode.AUTH_TIMEOUT)]


def test_a_token_that_lives_shorter_is_asked_for_at_half_its_life(driven: Driven) -> None:
    driven.sign_in(life_secs=30)
    assert driven.tick(14.5) == []
    assert ids(driven.tick(0.5)) == ["AUTH REQUEST"]


def test_a_newer_token_keeps_the_socket(driven: Driven) -> None:
    driven.sign_in(life_secs=40)
    driven.tick(20)
    assert ids(driven.token(accept=True, life_secs=900)) == ["AUTH OK"]
    assert driven.tick(30) == [Send(HEARTBEAT)]
    assert driven.session.state is State.OPEN
    assert driven.session.streams == {MINE, ALL}


def test_one_stale_answer_to_a_refresh_is_no_failure(driven: Driven) -> None:
    driven.sign_in(life_secs=40)
    driven.tick(20)
    # The cookie that it has: refused, or the very token that the session lives on.
    for _ in range(3):
        assert ids(driven.token(accept=False)) == ["AUTH FAILED", "AUTH REQUEST"]
    assert close_code(driven.token(accept=False)) == CloseCode.AUTH_FAILED


def test_the_token_that_the_session_lives_on_is_no_answer_to_a_refresh(driven: Driven) -> None:
    driven.sign_in(life_secs=40)
    driven.tick(20)
    assert ids(driven.token(accept=True, life_secs=20)) == ["AUTH FAILED", "AUTH REQUEST"]
    assert ids(driven.token(accept=True, life_secs=40)) == ["AUTH OK"]
    # The next refresh starts with a clean slate.
    assert ids(driven.tick(20)) == ["AUTH REQUEST"]
    assert ids(driven.token(accept=False)) == ["AUTH FAILED", "AUTH REQUEST"]


def test_an_unasked_token_that_is_not_newer_changes_nothing(driven: Driven) -> None:
    driven.sign_in(life_secs=900)
    assert ids(driven.token(accept=True, life_secs=100)) == ["AUTH OK"]
    assert driven.tick(100) == [Send(HEARTBEAT)]


def test_unasked_bad_tokens_end_an_open_socket_at_the_third(driven: Driven) -> None:
    driven.sign_in()
    for _ in range(2):
        assert ids(driven.token(accept=False)) == ["AUTH FAILED", "AUTH REQUEST"]
    assert close_code(driven.token(accept=False)) == CloseCode.AUTH_FAILED


def test_a_token_of_another_user_closes_an_open_socket(driven: Driven) -> None:
    driven.sign_in()
    assert driven.token(accept=True, user_id=BOB) == [Close(CloseCode.REVOKED)]
    assert driven.session.identity is not None
    assert driven.session.identity.user_id == ALICE


def test_before_auth_ok_another_user_may_try() -> None:
    for dialect in DIALECTS:
        driven = Driven(dialect)
        driven.connect()
        driven.token(accept=False)
        driven.token(accept=True, user_id=BOB)
        assert driven.session.identity is not None
        assert driven.session.identity.user_id == BOB


def test_timers_follow_the_monotonic_clock(driven: Driven) -> None:
    driven.sign_in(life_secs=900)
    driven.clock.wall += 3_600
    assert driven.tick(HEARTBEAT_SECS) == [Send(HEARTBEAT)]
    driven.clock.wall -= 7_200
    driven.say(HEARTBEAT)
    assert driven.tick(HEARTBEAT_SECS) == [Send(HEARTBEAT)]
    assert driven.session.state is State.OPEN


@pytest.mark.parametrize("jump_secs", [-3_600.0, 3_600.0])
def test_after_a_jump_of_the_clock_a_session_renews_its_token_as_before(driven: Driven, jump_secs: float) -> None:
    driven.sign_in(life_secs=40)
    driven.clock.wall += jump_secs
    for _ in range(2):
        assert ids(driven.tick(20)) == ["AUTH REQUEST"]
        assert ids(driven.token(accept=True, life_secs=40)) == ["AUTH OK"]
    assert driven.session.state is State.OPEN


def test_a_token_that_expired_while_it_was_verified_lives_no_longer(driven: Driven) -> None:
    driven.sign_in(life_secs=-1)
    assert driven.tick() == [Close(CloseCode.AUTH_TIMEOUT)]


# Frames that are refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["x" * (CLIENT_FRAME_MAX_BYTES + 1), "é" * (CLIENT_FRAME_MAX_BYTES // 2 + 1)],
    ids=["characters", "bytes"],
)
def test_a_frame_over_16_kib_ends_the_socket(driven: Driven, text: str) -> None:
    driven.connect()
    assert close_code(driven.say(text)) == CloseCode.PROTOCOL_VIOLATION


def test_a_frame_of_16_kib_is_read(driven: Driven) -> None:
    driven.connect()
    assert driven.say("x" * CLIENT_FRAME_MAX_BYTES) == [Verify("x" * CLIENT_FRAME_MAX_BYTES)]


def test_a_binary_frame_ends_the_socket(driven: Driven) -> None:
    driven.sign_in()
    assert close_code(driven.session.binary_received()) == CloseCode.PROTOCOL_VIOLATION


def test_more_than_100_frames_a_minute_end_the_socket(driven: Driven) -> None:
    driven.sign_in()
    for _ in range(CLIENT_FRAMES_PER_MIN - 1):
        driven.token(accept=True, life_secs=1)
    assert close_code(driven.say("raw.token")) == CloseCode.PROTOCOL_VIOLATION


def test_the_heartbeat_is_exempt_from_the_rate_limit(driven: Driven) -> None:
    driven.sign_in()
    for _ in range(10 * CLIENT_FRAMES_PER_MIN):
        assert driven.say(HEARTBEAT) == []
    assert ids(driven.token(accept=True)) == ["AUTH OK"]


# The driver's mistakes ---------------------------------------------------------------------------


def test_a_driver_that_answers_without_a_question_is_told(driven: Driven) -> None:
    driven.connect()
    for answer in (driven.accept, driven.refuse, lambda: driven.session.unavailable(0)):
        with pytest.raises(IllegalTransition):
            answer()
    with pytest.raises(IllegalTransition):
        driven.open()


def test_a_driver_that_does_not_wait_for_an_answer_is_told(driven: Driven) -> None:
    driven.connect()
    driven.say("raw.token")
    with pytest.raises(IllegalTransition):
        driven.say("raw.token")
    driven.accept()
    with pytest.raises(IllegalTransition):
        driven.say("raw.token")
