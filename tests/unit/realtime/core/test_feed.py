"""What a node knows of a stream (docs/node.md)."""

from dataclasses import replace

import pytest

from apps.realtime.core.cache import OVERHEAD_BYTES, EventCache
from apps.realtime.core.feed import Arrival, Feed, Observation
from apps.realtime.core.names import user_stream
from apps.realtime.core.resume import Cursor, Head

from .driver import ALICE, EPOCH, durable

MINE = user_stream(ALICE)
NOTHING = Cursor("", 0)


def feed(*seqs: int, epoch: str = EPOCH) -> Feed:
    """A feed at which these events have arrived."""
    feed = Feed(MINE, EventCache())
    for seq in seqs:
        feed.arrived(durable(MINE, seq, epoch))
    return feed


def cached(feed: Feed) -> list[int]:
    return [seq for seq in range(1, 1_000) if feed.cached(seq) is not None]


# Events from the broker --------------------------------------------------------------------------


def test_the_first_event_names_the_numbering_and_the_position() -> None:
    one, known = Feed(MINE, EventCache()), durable(MINE, 7)
    assert (one.stream, one.position) == (MINE, NOTHING)
    assert one.arrived(known) is Arrival.NEW
    assert one.position == Cursor(EPOCH, 7)
    assert one.cached(7) is known
    assert one.cached(6) is None


def test_the_position_is_the_highest_that_is_known_whatever_the_order() -> None:
    one = feed(7, 9, 8, 3)
    assert one.position == Cursor(EPOCH, 9)
    assert cached(one) == [3, 7, 8, 9]


def test_a_copy_is_told_from_a_late_event() -> None:
    one, second, third = feed(1), durable(MINE, 2), durable(MINE, 3)
    for event, arrival in ((third, Arrival.NEW), (third, Arrival.COPY), (second, Arrival.NEW), (second, Arrival.COPY)):
        assert one.arrived(event) is arrival


def test_two_events_of_one_place_are_no_copies() -> None:
    one = feed(1, 2)
    known = one.cached(2)
    assert known is not None
    assert one.arrived(replace(known, mid="")) is Arrival.COPY
    assert one.arrived(replace(known, frame="another")) is Arrival.GIVEN_TWICE
    assert one.cached(2) is known


def test_an_event_of_another_numbering_changes_nothing() -> None:
    one = feed(1, 2)
    assert one.arrived(durable(MINE, 3, "e2")) is Arrival.OTHER_EPOCH
    assert one.position == Cursor(EPOCH, 2)
    assert one.cached(3) is None


def test_what_was_forgotten_counts_as_new() -> None:
    one = Feed(MINE, EventCache(OVERHEAD_BYTES * 3))
    for seq in (1, 2, 3):
        one.arrived(durable(MINE, seq))
    assert one.cached(1) is None
    # Sessions know by themselves what they have.
    assert one.arrived(durable(MINE, 1)) is Arrival.NEW
    assert one.position == Cursor(EPOCH, 3)


# Heads from the database -------------------------------------------------------------------------


def test_the_first_head_is_believed() -> None:
    one = Feed(MINE, EventCache())
    # It is no news for anybody.
    assert one.observed(Head("e2", 7, 3), NOTHING) is Observation.NOTHING_NEW
    assert one.position == Cursor("e2", 7)
    assert one.observed(Head("e2", 7, 3), Cursor("e2", 7)) is Observation.NOTHING_NEW


def test_a_higher_head_is_ahead_and_keeps_the_cache() -> None:
    one = feed(1, 2)
    assert one.observed(Head(EPOCH, 5, 0), Cursor(EPOCH, 2)) is Observation.AHEAD
    assert one.position == Cursor(EPOCH, 5)
    assert cached(one) == [1, 2]


def test_a_head_that_was_read_before_an_event_came_is_no_regress() -> None:
    one = feed(1, 2)
    since = one.position
    one.arrived(durable(MINE, 3))
    assert one.observed(Head(EPOCH, 2, 0), since) is Observation.NOTHING_NEW
    assert one.position == Cursor(EPOCH, 3)


def test_a_head_below_what_was_known_when_it_was_read_has_run_back() -> None:
    one = feed(1, 2, 3)
    assert one.observed(Head(EPOCH, 2, 0), Cursor(EPOCH, 3)) is Observation.RAN_BACK
    # Nothing is changed before the numbering has been ended.
    assert one.position == Cursor(EPOCH, 3)
    assert cached(one) == [1, 2, 3]


@pytest.mark.parametrize("head", [0, 2, 9])
def test_another_epoch_is_a_rotation_wherever_its_head_stands(head: int) -> None:
    one = feed(1, 2)
    assert one.observed(Head("e2", head, 0), Cursor(EPOCH, 2)) is Observation.ROTATED
    assert one.position == Cursor("e2", head)
    assert cached(one) == []
    assert one.arrived(durable(MINE, head + 1, "e2")) is Arrival.NEW


def test_a_head_that_was_read_before_a_rotation_is_not_believed() -> None:
    one = feed(1, 2)
    since = one.position
    one.observed(Head("e2", 4, 0), since)
    for late in (Head(EPOCH, 3, 0), Head("e2", 3, 0), Head("e3", 9, 0)):
        assert one.observed(late, since) is Observation.NOTHING_NEW
        assert one.position == Cursor("e2", 4)


def test_a_reading_that_began_before_anything_was_known() -> None:
    # Of the numbering that an event has named meanwhile: it counts, but is no proof of a regress.
    one = feed(5)
    assert one.observed(Head(EPOCH, 4, 0), NOTHING) is Observation.NOTHING_NEW
    assert one.observed(Head(EPOCH, 6, 0), NOTHING) is Observation.AHEAD
    assert one.position == Cursor(EPOCH, 6)
    # Of another one: which of the two holds is not known.
    assert one.observed(Head("e2", 9, 0), NOTHING) is Observation.NOTHING_NEW
    assert one.position == Cursor(EPOCH, 6)
