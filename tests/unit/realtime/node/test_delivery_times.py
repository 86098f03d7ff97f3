"""How long events take (docs/health.md)."""

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from apps.realtime.core.events import Event, EventTemplate, numbered
from apps.realtime.core.names import ALL
from apps.realtime.node.delivery_times import SKEW_SECS, DeliveryTimes, made_at


def made(ts: float) -> Event:
    """An event of ours, whose data look like what stands behind it."""
    from json import JSONEncoder

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


async def test_an_event_is_noted_once_behind_the_writers_of_its_turn() -> None:
    count, total = sample("realtime_delivery_seconds_count"), sample("realtime_delivery_seconds_sum")
    skewed = sample("realtime_delivery_clock_skew_total")
    times = DeliveryTimes()
    written: list[float] = []
    asyncio.get_running_loop().call_soon(lambda: written.append(sample("realtime_delivery_seconds_count")))
    now = time.time()
    times.written(made(now - 20))
    times.written(made(now - 30))
    times.written(foreign("{}"))
    await asyncio.sleep(0)
    assert written == [count]
    assert sample("realtime_delivery_seconds_count") == count + 2
    # Other tests have events of 1970 in the sum: no more digits than that.
    assert 49 < sample("realtime_delivery_seconds_sum") - total < 60
    times.written(made(now - 1))
    await asyncio.sleep(0)
    assert sample("realtime_delivery_seconds_count") == count + 3
    assert sample("realtime_delivery_clock_skew_total") == skewed


async def test_an_event_of_the_future_took_no_time_and_is_counted() -> None:
    total, skewed = sample("realtime_delivery_seconds_sum"), sample("realtime_delivery_clock_skew_total")
    times = DeliveryTimes()
    now = time.time()
    times.written(made(now + 3_600))
    times.written(made(now + SKEW_SECS / 2))
    await asyncio.sleep(0)
    assert sample("realtime_delivery_seconds_sum") == total
    assert sample("realtime_delivery_clock_skew_total") == skewed + 1
