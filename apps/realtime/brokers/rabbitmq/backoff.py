"""How long to wait before the next attempt on the broker (docs/brokers.md)."""

import random
from typing import Final

# The first retry comes at once enough for a restart to be unnoticed, the last often enough that an hour's outage ends
# within seconds; 2 s keeps "delivery resumes within 5 s of the port being open" with room to rebuild.
FIRST_SECS: Final = 0.25
LONGEST_SECS: Final = 2.0


class Backoff:
    """Exponential with full jitter, between half and the whole of the current step so that it never spins."""

    def __init__(self, *, first_secs: float = FIRST_SECS, longest_secs: float = LONGEST_SECS) -> None:
        self._first = first_secs
        self._longest = longest_secs
        self._step = first_secs

    def next_secs(self) -> float:
        """The next delay; each call doubles the step up to the longest."""
        delay = self._step * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        self._step = min(self._step * 2, self._longest)
        return delay

    def reset(self) -> None:
        """Things work again."""
        self._step = self._first
