"""How long events take (docs/health.md)."""

import asyncio
import time
from json import JSONEncoder
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from apps.realtime.core.events import Event, EventTemplate, numbered
from apps.realtime.core.names import ALL
from apps.realtime.node import delivery_times as module
from apps.realtime.node.delivery_times import SKEW_SECS, DeliveryTimes, made_at


def made(ts: float) -> Event:
    """An event of ours, whose data look like what stands behind it."""
    data = {"mid": "other", "ts": 5}
    return EventTemplate("x", data, JSONEncoder).for_stream(ALL, mid="abc", ts=ts)


def foreign(frame: str, mid: str = "") -> Event:
    return Event(ALL, "x", frame, len(frame), mid)


def sample(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None
    return value


def test_the_time_of_the_call_is_read_from_our_frames() -> None:
    ephemeral = made(1234.5678)
    assert made_at(ephemeral) == 1234.568
    durable = numbered(ALL, "x", ephemeral.frame, "abc", "e1", 7)
    assert made_at(durable) == 1234.568


@pytest.mark.parametrize(
    "event",
    [
        foreign('{"id":"x","data":{"ts":5}}'),
        foreign('{"id":"x","data":1,"ts":5}', "abc"),
        foreign('{"id":"x","data":1,"mid":"abc","ts":"nan"}', "abc"),
        foreign('{"id":"x","data":1,"mid":"abc","ts":-1e999}', "abc"),
        foreign('{"id":"x","data":1,"mid":"abc","ts":', "abc"),
    ],
)
def test_a_frame_of_another_kind_has_none(event: Event) -> None:
    assert made_at(event) is None


async def test_an_event_is_noted_behind_the_writers_of_its_turn() -> None:
    count, total = sample("realtime_delivery_seconds_count"), sample("realtime_delivery_seconds_sum")
    skewed = sample("realtime_delivery_clock_skew_total")
    times = DeliveryTimes()
    written: list[float] = []
    asyncio.get_running_loop().call_soon(lambda: written.append(sample("realtime_delivery_seconds_count")))
    times.written(foreign("{}"))
    times.written(made(time.time() - 30))
    await asyncio.sleep(0)
    assert written == [count]
    assert sample("realtime_delivery_seconds_count") == count + 1
    # Other tests have events of 1970 in the sum: no more digits than that.
    assert 29 < sample("realtime_delivery_seconds_sum") - total < 35
    assert sample("realtime_delivery_clock_skew_total") == skewed


async def test_of_many_events_one_a_millisecond_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    count = sample("realtime_delivery_seconds_count")
    clock = [1_000.0, 1_000.0005, 1_000.0009, 1_000.0011, 1_000.0015, 1_007.0]
    ticks = iter(clock)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks), time=time.time))
    times = DeliveryTimes()
    for _ in clock:
        times.written(made(time.time()))
    await asyncio.sleep(0)
    assert sample("realtime_delivery_seconds_count") == count + 3


@pytest.mark.parametrize(("ahead_secs", "counted"), [(3_600, 1), (SKEW_SECS / 2, 0)])
async def test_an_event_of_the_future_took_no_time_and_is_counted(ahead_secs: float, counted: int) -> None:
    total, skewed = sample("realtime_delivery_seconds_sum"), sample("realtime_delivery_clock_skew_total")
    DeliveryTimes().written(made(time.time() + ahead_secs))
    await asyncio.sleep(0)
    assert sample("realtime_delivery_seconds_sum") - total < SKEW_SECS
    assert sample("realtime_delivery_clock_skew_total") == skewed + counted
