"""A token bucket without a clock (docs/limits.md)."""


class TokenBucket:
    """Allows `burst` at once and `per_sec` in the long run; the caller says what time it is (monotonic seconds)."""

    __slots__ = ("_burst", "_level", "_per_sec", "_seen_at")

    def __init__(self, *, per_sec: float, burst: float, now: float) -> None:
        self._per_sec = per_sec
        self._burst = burst
        self._level = burst
        self._seen_at = now

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        self._refill(now)
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def is_full(self, now: float) -> bool:
        """Whether nothing was taken lately, so that forgetting this bucket changes nothing."""
        self._refill(now)
        return self._level >= self._burst

    def _refill(self, now: float) -> None:
        self._level = min(self._burst, self._level + max(0.0, now - self._seen_at) * self._per_sec)
        self._seen_at = now
