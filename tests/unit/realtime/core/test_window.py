"""What a client may leave unacknowledged (docs/protocol.md, "Credit")."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from apps.realtime.core.window import ACK_TIMEOUT_SECS, WINDOW_BYTES, WINDOW_EVENTS, Window


def sent_until_full(window: Window, size: int) -> int:
    count = 0
    while window.has_room:
        assert window.admit(size)
        count += 1
    assert not window.admit(size)
    return count


def test_it_holds_256_events_or_1_mib_whichever_comes_first() -> None:
    assert (WINDOW_EVENTS, WINDOW_BYTES) == (256, 1024 * 1024)
    assert sent_until_full(Window(), 1) == 256
    assert sent_until_full(Window(), 4096) == 256
    assert sent_until_full(Window(), 4097) == 256
    assert sent_until_full(Window(), 8192) == 128
    # The last frame may reach over the bound.
    assert sent_until_full(Window(), 300_000) == 4


@pytest.mark.parametrize("size", [1, 8192])
def test_an_acknowledgement_makes_as_much_room_as_it_says(size: int) -> None:
    window = Window()
    full = sent_until_full(window, size)
    assert window.acked(0)
    assert (window.has_room, window.unacked) == (False, full)
    assert window.acked(10)
    assert window.unacked == full - 10
    assert sent_until_full(window, size) == 10
    # It counts from the beginning of the connection.
    assert window.acked(10)
    assert not window.has_room
    assert window.acked(full + 10)
    assert sent_until_full(window, size) == full


def test_it_knows_how_many_were_sent() -> None:
    window = Window()
    assert window.sent == 0
    for _ in range(5):
        assert window.admit(1)
    assert window.acked(3)
    assert window.sent == 5


def test_more_than_was_sent_cannot_be_acknowledged() -> None:
    window = Window()
    assert not window.acked(1)
    assert window.admit(5)
    assert not window.acked(2)
    assert window.acked(1)
    assert not window.acked(2)


def test_an_older_acknowledgement_says_nothing_new() -> None:
    window = Window()
    for _ in range(5):
        assert window.admit(1)
    assert window.acked(4)
    assert window.acked(2)
    assert not window.acked(6)
    assert window.unacked == 1
    assert window.acked(5)
    assert window.unacked == 0


def test_who_owes_nothing_is_never_overdue() -> None:
    window = Window()
    assert not window.is_overdue(0)
    assert not window.is_overdue(1_000)
    assert window.admit(1)
    assert not window.is_overdue(1_000)
    assert window.acked(1)
    assert not window.is_overdue(1_000 + 10 * ACK_TIMEOUT_SECS)


def test_who_owes_is_overdue_after_30_s_without_progress() -> None:
    window = Window()
    assert window.admit(1)
    assert window.admit(1)
    assert not window.is_overdue(100)
    assert not window.is_overdue(129)
    assert window.is_overdue(130)
    # More to read is no excuse, and an old number no progress.
    assert window.admit(1)
    assert window.acked(0)
    assert window.is_overdue(131)
    assert window.acked(1)
    assert not window.is_overdue(131)
    assert not window.is_overdue(160)
    assert window.is_overdue(161)


def test_the_time_counts_from_when_something_was_owed() -> None:
    window = Window()
    assert window.admit(1)
    assert not window.is_overdue(0)
    assert window.acked(1)
    assert not window.is_overdue(29)
    assert window.admit(1)
    assert not window.is_overdue(40)
    assert not window.is_overdue(69)
    assert window.is_overdue(70)


@given(st.lists(st.floats(0.1, 29), min_size=1, max_size=50))
def test_a_client_that_acknowledges_now_and_then_is_never_overdue(pauses: list[float]) -> None:
    window, now = Window(), 0.0
    for number, pause in enumerate(pauses, 1):
        assert window.admit(1)
        assert window.admit(1)
        assert not window.is_overdue(now)
        now += pause
        assert window.acked(number)
        assert not window.is_overdue(now)


class WindowMachine(RuleBasedStateMachine):
    """A window beside a plain list of what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.sizes: list[int] = []
        self.acked = 0

    @precondition(lambda self: self.window.has_room)
    @rule(size=st.integers(1, 262_144), times=st.integers(1, 300))
    def send(self, size: int, times: int) -> None:
        for _ in range(times):
            room = self.window.has_room
            assert self.window.admit(size) is room
            if room:
                self.sizes.append(size)

    @rule(ahead=st.integers(-5, 300))
    def ack(self, ahead: int) -> None:
        received = max(0, self.acked + ahead)
        known = received <= len(self.sizes)
        assert self.window.acked(received) is known
        if known:
            self.acked = max(self.acked, received)

    @invariant()
    def there_is_room_below_the_bounds_and_only_there(self) -> None:
        unacked = self.sizes[self.acked :]
        assert self.window.has_room == (len(unacked) < WINDOW_EVENTS and sum(unacked) < WINDOW_BYTES)
        assert len(unacked) <= WINDOW_EVENTS
        assert sum(unacked[:-1]) < WINDOW_BYTES


TestWindowMachine = WindowMachine.TestCase
