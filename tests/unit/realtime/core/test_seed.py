"""The dialect of the 2016 pattern (docs/protocol.md, section 2, "Kept from the 2016 pattern")."""

from typing import Any

import pytest
from hypothesis import settings

from apps.realtime.core.actions import Close, Send, Taken
from apps.realtime.core.codes import HEARTBEAT, CloseCode, GapReason
from apps.realtime.core.names import ALL
from apps.realtime.core.resume import Head
from apps.realtime.core.seed import is_json

from .driver import HEARTBEAT_SECS, Driven, close_code, durable, event, ids, texts
from .machine import SessionMachine


@pytest.fixture
def driven() -> Driven:
    """A session of a 2016 page."""
    return Driven("seed")


def test_control_frames_are_the_article_s_byte_for_byte(driven: Driven) -> None:
    assert texts(driven.connect()) == ['{"id": "AUTH REQUEST"}']
    assert texts(driven.token(accept=False)) == ['{"id": "AUTH FAILED"}', '{"id": "AUTH REQUEST"}']
    driven.token(accept=True)
    assert texts(driven.open()) == ['{"id": "AUTH OK"}']


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "null", "5", '"text"', '{"id": "AUTH", "data": {"token": "x"}}', '{"id": "SUBSCRIBE"}', "[" * 9_000],
)
def test_a_2016_page_sends_tokens_and_nothing_else(driven: Driven, text: str) -> None:
    driven.connect()
    assert driven.say(text) == [Close(CloseCode.PROTOCOL_VIOLATION)]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 9_000 + "]" * 9_000, '{"id": "AUTH', " {]"], ids=["open", "deep", "cut", "odd"]
)
def test_what_begins_as_json_is_no_token_however_it_ends(text: str) -> None:
    assert is_json(text)


def test_it_has_no_topics_and_its_client_owes_nothing(driven: Driven) -> None:
    driven.sign_in()
    assert driven.session.deliver(event(ALL))
    assert (driven.session.topics, driven.session.unacked) == ((), None)


def test_a_token_is_no_json() -> None:
    assert not is_json("a.b.c")


@pytest.mark.parametrize(
    "provoke",
    [
        lambda driven: driven.session.binary_received(),
        lambda driven: driven.say("x" * 20_000),
        lambda driven: driven.say("{}"),
        lambda driven: driven.session.reconnect(CloseCode.DRAIN, 5_000, "drain"),
    ],
)
def test_it_is_told_by_the_close_code_alone(driven: Driven, provoke: Any) -> None:
    # Its page would hand any other frame to the application.
    driven.sign_in()
    actions = provoke(driven)
    assert len(actions) == 1
    assert close_code(actions) is not None


def test_no_verdict_closes_with_4006_and_drain_with_4001(driven: Driven) -> None:
    driven.connect()
    driven.say("raw.token")
    assert driven.session.unavailable(1_000) == [Close(CloseCode.RESYNC)]
    other = Driven("seed")
    other.sign_in()
    assert other.session.reconnect(CloseCode.DRAIN, 0, "drain") == [Close(CloseCode.DRAIN)]


def test_it_need_not_echo_the_heartbeat(driven: Driven) -> None:
    driven.sign_in(life_secs=900)
    for _ in range(10):
        assert driven.tick(HEARTBEAT_SECS) == [Send(HEARTBEAT)]


def test_a_2016_page_refreshes_as_it_does(driven: Driven) -> None:
    """It answers with its stale cookie, drops it when refused, fetches a fresh token and goes on."""
    driven.sign_in(life_secs=900)
    asked_after = [second for second in range(1, 841) if "AUTH REQUEST" in ids(driven.tick(1))]
    assert asked_after == [840]
    assert ids(driven.token(accept=True, life_secs=60)) == ["AUTH FAILED", "AUTH REQUEST"]
    assert texts(driven.token(accept=True, life_secs=900)) == ['{"id": "AUTH OK"}']


def test_it_has_no_window_and_is_told_of_no_gap(driven: Driven) -> None:
    driven.sign_in()
    for seq in range(1, 1_001):
        assert driven.session.take(durable(ALL, seq)) is Taken.SENT
        assert driven.session.deliver(event(ALL))
    assert not driven.session.is_overdue(driven.clock.mono + 1_000)
    assert not driven.session.window_is_full
    assert driven.session.unacked is None
    assert driven.session.gap(ALL, Head("e2", 7, 7), GapReason.EPOCH) == []
    assert driven.session.take(durable(ALL, 8, "e2")) is Taken.SENT


class SeedMachine(SessionMachine):
    """The seed session under random frames, tokens and timings."""

    dialect = "seed"


TestSeedMachine = SeedMachine.TestCase
TestSeedMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
