"""How long an event took from `notify` or `push` to the sockets of this node (docs/health.md)."""

import asyncio
import math
import time
from typing import Final

from .. import metrics
from ..core.events import Event

# One note takes 3 µs, an event of a single tab about 25: so a busy node spends no more than 0.3 % of its core on this.
EVERY_SECS: Final = 0.001
# Servers that keep time by NTP differ by less, and `ts` has milliseconds.
SKEW_SECS: Final = 0.05


class DeliveryTimes:
    """Notes an event once, whatever the number of its sockets, and of many events one a millisecond."""

    def __init__(self) -> None:
        # Monotonic.
        self._next_at = 0.0

    def written(self, event: Event) -> None:
        """The event was handed to the writers of its sockets, in this turn of the event loop."""
        now = time.monotonic()
        if now < self._next_at:
            return
        made = made_at(event)
        if made is not None:
            self._next_at = now + EVERY_SECS
            # Behind the writers, which write to the kernel at the beginning of the next turn.
            asyncio.get_running_loop().call_soon(_observe, made)


def _observe(made: float) -> None:
    took_secs = time.time() - made
    if took_secs < -SKEW_SECS:
        metrics.CLOCK_SKEWED.inc()
    metrics.DELIVERY_SECS.observe(max(0.0, took_secs))


def made_at(event: Event) -> float | None:
    """The frame's `ts`: unix time of the call, in seconds; None in the frame of a foreign publisher.

    Ours stands behind `mid` (`EventTemplate.for_stream`). A publisher's own data may hold a `ts`, too.
    """
    mark = f',"mid":"{event.mid}","ts":'
    at = event.frame.rfind(mark)
    if at < 0:
        return None
    number = event.frame[at + len(mark) :].partition(",")[0].rstrip("}")
    try:
        made = float(number)
    except ValueError:
        return None
    # Any program may publish, and infinity would stay in the sum for ever.
    return made if math.isfinite(made) else None
