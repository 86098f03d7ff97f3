"""How long an event took from `notify` or `push` to the sockets of this node (docs/health.md)."""

import asyncio
import math
import time
from typing import Final

from .. import metrics
from ..core.events import Event

# Servers that keep time by NTP differ by less, and `ts` has milliseconds.
SKEW_SECS: Final = 0.05


class DeliveryTimes:
    """Notes each event once, whatever the number of its sockets."""

    def __init__(self) -> None:
        # When those were made that were written in this turn of the event loop; unix time.
        self._made: list[float] = []

    def written(self, event: Event) -> None:
        """The event was handed to the writers of its sockets, in this turn of the loop."""
        made = made_at(event)
        if made is None:
            return
        if not self._made:
            # Behind the writers, which write to the kernel at the beginning of the next turn.
            asyncio.get_running_loop().call_soon(self._observe)
        self._made.append(made)

    def _observe(self) -> None:
        made, self._made = self._made, []
        now = time.time()
        for one in made:
            if one > now + SKEW_SECS:
                metrics.CLOCK_SKEWED.inc()
            metrics.DELIVERY_SECS.observe(max(0.0, now - one))


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
