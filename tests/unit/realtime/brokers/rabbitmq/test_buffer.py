"""What waits for the broker is bounded and counted (docs/publishing.md)."""

import logging
import threading

import pytest
from prometheus_client import REGISTRY

from apps.realtime.brokers.rabbitmq import buffer as module
from apps.realtime.brokers.rabbitmq.buffer import MAX_BYTES, MAX_EVENTS, EventBuffer, Outgoing
from apps.realtime.brokers.throttled import ThrottledLog
from apps.realtime.core.events import FRAME_MAX_BYTES, Event
from apps.realtime.core.names import Stream


def event(number: int, size: int = 10) -> Outgoing:
    return Outgoing(Event(Stream("all"), "x", "frame", size, str(number)), None)


class Outcomes:
    """What became of the durable events that this makes."""

    def __init__(self) -> None:
        self.told: list[tuple[int, bool]] = []

    def event(self, number: int, size: int = 10) -> Outgoing:
        return Outgoing(Event(Stream("all"), "x", "frame", size, str(number), "epoch", number + 1), self._settled)

    def _settled(self, event: Event, confirmed: bool) -> None:
        self.told.append((int(event.mid), confirmed))


def numbers(taken: list[Outgoing]) -> list[int]:
    return [int(one.event.mid) for one in taken]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_oldest_comes_first() -> None:
    buffer = EventBuffer()
    for number in range(5):
        assert buffer.append(event(number))
    assert numbers(buffer.take(2)) == [0, 1]
    assert numbers(buffer.take(10)) == [2, 3, 4]
    assert buffer.take(1) == []


def test_it_holds_10_000_events_and_then_the_oldest_makes_place() -> None:
    before = sample("realtime_events_publish_dropped_total", reason="buffer_full")
    buffer = EventBuffer()
    for number in range(MAX_EVENTS + 3):
        buffer.append(event(number))
    assert buffer.waiting == MAX_EVENTS == 10_000
    assert numbers(buffer.take(1)) == [3]
    assert sample("realtime_events_publish_dropped_total", reason="buffer_full") == before + 3


def test_it_holds_16_mib_and_then_the_oldest_make_place() -> None:
    buffer = EventBuffer()
    room = MAX_BYTES // FRAME_MAX_BYTES
    for number in range(room):
        buffer.append(event(number, FRAME_MAX_BYTES))
    buffer.append(event(room, 1))
    assert buffer.waiting == room
    buffer.append(event(room + 1, FRAME_MAX_BYTES))
    assert numbers(buffer.take(room + 5)) == list(range(2, room + 2))


def test_what_was_taken_makes_room() -> None:
    buffer = EventBuffer()
    for number in range(MAX_BYTES // FRAME_MAX_BYTES):
        buffer.append(event(number, FRAME_MAX_BYTES))
    buffer.take(1)
    buffer.append(event(99, FRAME_MAX_BYTES))
    assert numbers(buffer.take(1)) == [1]


def test_the_number_that_waits_is_shown_while_nothing_is_taken() -> None:
    buffer = EventBuffer()
    for number in range(3):
        buffer.append(event(number))
    buffer.report(ThrottledLog(logging.getLogger("test")))
    assert sample("realtime_events_publish_waiting") == 3
    buffer.take(2)
    assert sample("realtime_events_publish_waiting") == 1


def test_an_event_is_pending_until_it_is_settled() -> None:
    buffer = EventBuffer()
    assert buffer.wait_empty(0)
    buffer.append(event(1))
    assert not buffer.wait_empty(0)
    buffer.take(1)
    assert not buffer.wait_empty(0)
    buffer.done(1)
    assert buffer.wait_empty(0)


def test_who_waits_for_the_last_one_is_woken() -> None:
    buffer = EventBuffer()
    buffer.append(event(1))
    buffer.append(event(2))
    buffer.take(2)
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(buffer.wait_empty(10)))
    waiter.start()
    buffer.done(1)
    assert results == []
    buffer.done(1)
    waiter.join(10)
    assert results == [True]


def test_what_is_abandoned_is_counted_and_nothing_more_is_taken() -> None:
    buffer = EventBuffer()
    for number in range(5):
        buffer.append(event(number))
    buffer.take(2)
    assert buffer.abandon() == 3  # the publisher counts what is on the wire
    assert not buffer.append(event(6))
    assert buffer.take(10) == []


def test_drops_are_logged_together_and_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    buffer = EventBuffer()
    log = ThrottledLog(logging.getLogger("test"))
    for number in range(7):
        buffer.append(event(number))
    with caplog.at_level(logging.WARNING):
        buffer.report(log)
        buffer.report(log)
    assert len(caplog.records) == 1
    assert "dropped the 5 oldest" in caplog.text


def test_threads_that_append_and_take_lose_nothing() -> None:
    buffer = EventBuffer()
    writers = [threading.Thread(target=lambda: [buffer.append(event(1)) for _ in range(500)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    taken = 0
    while any(writer.is_alive() for writer in writers) or buffer.waiting:
        taken += len(buffer.take(50))
    for writer in writers:
        writer.join()
    assert taken == 2_000


def test_what_is_put_back_leaves_first_and_in_its_order() -> None:
    buffer = EventBuffer()
    for number in range(6):
        buffer.append(event(number))
    taken = buffer.take(4)
    buffer.put_back(one for one in taken if one.event.mid != "1")
    buffer.done(1)
    assert numbers(buffer.take(10)) == [0, 2, 3, 4, 5]
    assert not buffer.wait_empty(0)
    buffer.done(5)
    assert buffer.wait_empty(0)


def test_a_durable_event_that_has_to_make_place_is_no_loss_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    before = sample("realtime_events_publish_dropped_total", reason="buffer_full")
    outcomes = Outcomes()
    buffer = EventBuffer()
    for number in range(4):
        buffer.append(outcomes.event(number))
    assert outcomes.told == [(0, False), (1, False)]
    buffer.put_back([])
    taken = buffer.take(2)
    buffer.append(outcomes.event(4))
    buffer.put_back(taken)  # three are one too many
    assert outcomes.told == [(0, False), (1, False), (2, False)]
    assert numbers(buffer.take(9)) == [3, 4]
    assert sample("realtime_events_publish_dropped_total", reason="buffer_full") == before


def test_at_the_exit_each_durable_event_is_told_that_it_stays() -> None:
    outcomes = Outcomes()
    buffer = EventBuffer()
    buffer.append(event(0))
    buffer.append(outcomes.event(1))
    buffer.append(outcomes.event(2))
    buffer.append(event(3))
    taken = buffer.take(2)
    assert buffer.abandon() == 1  # the durable ones are not lost
    assert outcomes.told == [(2, False)]
    assert not buffer.append(outcomes.event(4))
    assert outcomes.told == [(2, False), (4, False)]
    # The connection breaks now: nothing can be put back any more.
    buffer.put_back(taken[1:])
    buffer.done(1)
    assert outcomes.told == [(2, False), (4, False), (1, False)]
    assert buffer.wait_empty(0)


def test_who_is_told_may_use_the_buffer() -> None:
    """The outcome is told without a lock: it is somebody else's code."""
    buffer = EventBuffer()

    def append_another(_: Event, confirmed: bool) -> None:
        free = threading.Thread(target=buffer.append, args=(event(9),))
        free.start()
        free.join(10)
        assert not free.is_alive()

    buffer.append(Outgoing(Event(Stream("all"), "x", "frame", MAX_BYTES, "0", "epoch", 1), append_another))
    buffer.append(event(1))
    assert sorted(numbers(buffer.take(9))) == [1, 9]
