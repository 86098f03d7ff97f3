"""Whether a stream can be continued (docs/protocol.md, "Resume", rules 3 to 5)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.core.codes import GapReason, StreamState
from apps.realtime.core.resume import (
    CORRUPT,
    DENIED,
    Cursor,
    Head,
    Verdict,
    judge,
    may_recover,
    parse_cursor,
)

REPLAY_MAX = 500
HEAD = Head("e1", 1_000, 300)


def verdict(since: Cursor | None, head: Head = HEAD, *, lost: int = 0) -> Verdict:
    """What is judged of a database that holds all of (floor, head] but for some."""
    stored = 0
    if since is not None and may_recover(since, head, REPLAY_MAX):
        stored = head.head - max(since.seq, head.floor) - lost
    return judge(since, head, stored, REPLAY_MAX)


def gap(reason: GapReason, head: Head = HEAD) -> Verdict:
    return Verdict(StreamState.GAP, Cursor(head.epoch, head.head), head.head, reason)


# Rule 3: recovered -------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [1, 2, 499, REPLAY_MAX])
def test_what_was_missed_is_recovered_if_all_of_it_is_there(behind: int) -> None:
    since = Cursor("e1", 1_000 - behind)
    assert verdict(since) == Verdict(StreamState.RECOVERED, since, 1_000)
    assert verdict(since).replay == behind


def test_who_stands_at_the_head_has_the_proof_that_nothing_was_missed() -> None:
    at_head = verdict(Cursor("e1", 1_000))
    assert (at_head.state, at_head.replay, at_head.reason) == (StreamState.RECOVERED, 0, None)
    # Whatever was trimmed.
    assert verdict(Cursor("e1", 1_000), Head("e1", 1_000, 1_000)).state is StreamState.RECOVERED
    assert verdict(Cursor("e1", 0), Head("e1", 0, 0)).state is StreamState.RECOVERED


# Rule 4: gap -------------------------------------------------------------------------------------


def test_more_than_replay_max_is_too_many() -> None:
    assert verdict(Cursor("e1", 1_000 - REPLAY_MAX - 1)) == gap(GapReason.TOO_MANY)
    assert verdict(Cursor("e1", 0)) == gap(GapReason.TOO_MANY)


def test_beyond_the_head_is_a_gap() -> None:
    assert verdict(Cursor("e1", 1_001)) == gap(GapReason.EPOCH)
    assert verdict(Cursor("e1", 2**63 - 1)) == gap(GapReason.EPOCH)


@pytest.mark.parametrize("seq", [0, 999, 1_000, 1_001])
def test_another_epoch_is_a_gap_wherever_it_stands(seq: int) -> None:
    assert verdict(Cursor("e0", seq)) == gap(GapReason.EPOCH)


def test_a_missing_event_anywhere_is_a_gap() -> None:
    trimmed = Head("e1", 1_000, 995)
    assert verdict(Cursor("e1", 995), trimmed).state is StreamState.RECOVERED
    assert verdict(Cursor("e1", 994), trimmed) == gap(GapReason.TRIMMED)
    assert verdict(Cursor("e1", 990), lost=1) == gap(GapReason.TRIMMED)
    assert verdict(Cursor("e1", 999), lost=1) == gap(GapReason.TRIMMED)


@pytest.mark.parametrize(
    "sent",
    [
        {"epoch": "e1", "seq": "1000"},
        {"epoch": "e1", "seq": -1},
        {"epoch": "e1", "seq": 2**63},
        {"epoch": "e1", "seq": True},
        {"epoch": "e1", "seq": 1000.0},
        {"epoch": "e1", "seq": None},
        {"epoch": "e1"},
        {"epoch": None, "seq": 1000},
        {"epoch": 1, "seq": 1000},
        {"epoch": ["e1"], "seq": 1000},
        {"seq": 1000},
        {},
        [],
        ["e1", 1000],
        "e1",
        1000,
        True,
        None,
    ],
    ids=repr,
)
def test_a_corrupt_cursor_is_a_gap(sent: Any) -> None:
    assert parse_cursor(sent) == CORRUPT
    assert verdict(parse_cursor(sent)) == gap(GapReason.EPOCH)
    # Also where nothing has happened yet, at seq 0.
    assert verdict(parse_cursor(sent), Head("e1", 0, 0)) == gap(GapReason.EPOCH, Head("e1", 0, 0))


@pytest.mark.parametrize("seq", [0, 1, 2**53 + 1, 2**63 - 1])
def test_a_cursor_is_read_as_it_was_sent(seq: int) -> None:
    assert parse_cursor({"epoch": "é", "seq": seq, "more": 1}) == Cursor("é", seq)


# Rule 5: new, denied -----------------------------------------------------------------------------


def test_who_asks_for_nothing_is_new_at_the_head() -> None:
    assert verdict(None) == Verdict(StreamState.NEW, Cursor("e1", 1_000), 1_000)
    assert verdict(None).replay == 0


def test_a_denied_stream_tells_nothing_of_it() -> None:
    assert (DENIED.state, DENIED.cursor, DENIED.head, DENIED.replay) == (StreamState.DENIED, CORRUPT, 0, 0)


# All of it ---------------------------------------------------------------------------------------

_seqs = st.integers(0, 30)


@given(
    since=st.none() | st.builds(Cursor, st.sampled_from(["e1", "e2", ""]), _seqs),
    head=_seqs,
    rows=st.sets(st.integers(1, 30)),
    replay_max=st.integers(1, 10),
)
def test_recovered_is_said_exactly_when_it_is_true(
    since: Cursor | None, head: int, rows: set[int], replay_max: int
) -> None:
    here = Head("e1", head, 0)
    missed = [] if since is None else list(range(since.seq + 1, head + 1))
    told = judge(since, here, len(rows.intersection(missed)), replay_max)
    possible = (
        since is not None
        and since.epoch == "e1"
        and since.seq <= head
        and rows.issuperset(missed)
        and len(missed) <= replay_max
    )
    assert (told.state is StreamState.RECOVERED) == possible
    assert (told.reason is not None) == (told.state is StreamState.GAP)
    assert told.head == head
    if possible:
        assert since is not None
        assert may_recover(since, here, replay_max)
        assert (told.cursor, told.replay) == (since, len(missed))
    else:
        assert (told.cursor, told.replay) == (Cursor("e1", head), 0)
        assert told.state is (StreamState.NEW if since is None else StreamState.GAP)
