"""The last events of a node (docs/node.md)."""

from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.core.cache import CACHE_BYTES, OVERHEAD_BYTES, EventCache
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, Stream, user_stream

MINE = user_stream("7")


def event(seq: int, size: int, stream: Stream = MINE, epoch: str = "e1") -> Event:
    return Event(stream, "a", f"frame {stream} {epoch} {seq}", size, "m", epoch, seq)


def test_an_event_is_found_by_its_place_and_kept_once() -> None:
    cache = EventCache()
    one = event(1, 100)
    assert cache.add(one) is None
    assert cache.add(event(1, 100)) is one
    assert cache.get(MINE, "e1", 1) is one
    for other in [(ALL, "e1", 1), (MINE, "e2", 1), (MINE, "e1", 2)]:
        assert cache.get(*other) is None


def test_the_oldest_of_all_streams_makes_room() -> None:
    cache = EventCache((OVERHEAD_BYTES + 2 * 100) * 3)
    for one in (event(1, 100), event(9, 100, ALL), event(2, 100), event(3, 100)):
        cache.add(one)
    assert cache.get(MINE, "e1", 1) is None
    assert cache.get(ALL, "e1", 9) is not None
    cache.add(event(4, 200))
    assert [seq for seq in range(10) if cache.get(MINE, "e1", seq)] == [3, 4]
    assert cache.get(ALL, "e1", 9) is None


def test_a_node_keeps_64_mib_whatever_the_number_of_its_streams() -> None:
    cache = EventCache()
    size = (CACHE_BYTES // 100 - OVERHEAD_BYTES) // 2
    for number in range(200):
        cache.add(event(1, size, user_stream(str(number))))
    here = [number for number in range(200) if cache.get(user_stream(str(number)), "e1", 1)]
    assert here == list(range(100, 200))


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5_000)), max_size=200))
def test_it_stays_within_its_bound_and_tells_no_lies(arrivals: list[tuple[int, int]]) -> None:
    cache = EventCache(20_000)
    sizes: dict[int, int] = {}
    for seq, size in arrivals:
        if cache.add(event(seq, size)) is None:
            sizes[seq] = size
    here = [seq for seq in range(1, 61) if cache.get(MINE, "e1", seq)]
    assert sum(2 * sizes[seq] + OVERHEAD_BYTES for seq in here) <= 20_000
    for seq in here:
        kept = cache.get(MINE, "e1", seq)
        assert kept is not None
        assert kept.frame == event(seq, 0).frame
    if arrivals:
        assert arrivals[-1][0] in here
