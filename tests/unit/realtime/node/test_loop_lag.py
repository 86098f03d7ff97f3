"""How late the loop is (docs/health.md)."""

import asyncio
import time

from prometheus_client import REGISTRY

from apps.realtime.node.loop_lag import EVERY_SECS, LoopLag

from .virtual_time import virtual_time


def lag() -> tuple[float, float]:
    """How often it was measured, and the sum of seconds."""
    count, total = (REGISTRY.get_sample_value(f"realtime_loop_lag_seconds_{part}") for part in ("count", "sum"))
    assert count is not None
    assert total is not None
    return count, total


@virtual_time
async def test_a_loop_that_is_idle_is_never_late_and_is_asked_four_times_a_second() -> None:
    count, total = lag()
    loop_lag = LoopLag()
    loop_lag.start()
    await asyncio.sleep(10 + EVERY_SECS / 2)
    assert lag() == (count + 40, total)
    loop_lag.close()
    await asyncio.sleep(10)
    assert lag() == (count + 40, total)


async def test_what_holds_the_loop_up_shows() -> None:
    count, total = lag()
    loop_lag = LoopLag()
    loop_lag.start()
    time.sleep(EVERY_SECS + 0.1)  # this is the defect that it measures
    async with asyncio.timeout(10):
        while lag()[0] == count:
            await asyncio.sleep(0.01)
    loop_lag.close()
    assert 0.1 <= lag()[1] - total < 5
