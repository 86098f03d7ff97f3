"""The token bucket (docs/limits.md)."""

from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.core.ratelimit import TokenBucket


def test_the_burst_goes_at_once_and_no_more() -> None:
    bucket = TokenBucket(per_sec=1, burst=3, now=50.0)
    assert [bucket.take(50.0) for _ in range(4)] == [True, True, True, False]


def test_it_fills_at_its_rate() -> None:
    bucket = TokenBucket(per_sec=2, burst=1, now=0.0)
    assert bucket.take(0.0)
    assert not bucket.take(0.4)
    assert bucket.take(0.5)


def test_it_never_holds_more_than_the_burst() -> None:
    bucket = TokenBucket(per_sec=100, burst=2, now=0.0)
    assert [bucket.take(1e9) for _ in range(3)] == [True, True, False]


def test_it_is_full_when_nothing_was_taken_lately() -> None:
    bucket = TokenBucket(per_sec=1, burst=2, now=0.0)
    assert bucket.is_full(0.0)
    bucket.take(0.0)
    assert not bucket.is_full(0.5)
    assert bucket.is_full(1.0)


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    bucket = TokenBucket(per_sec=1, burst=1, now=100.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert bucket.take(51.0)


@given(st.lists(st.floats(0, 5), max_size=200))
def test_over_any_stretch_at_most_burst_plus_rate_times_time(pauses: list[float]) -> None:
    bucket = TokenBucket(per_sec=3, burst=5, now=0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
    assert taken <= 5 + 3 * now + 1e-6
