"""A log line at most once a second, with the number of those that it stands for (docs/brokers.md)."""

import logging
import time
from typing import Final

_PERIOD_SECS: Final = 1.0


class ThrottledLog:
    """Warnings that a flood of bad input or a long outage would repeat without end."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._next_at = 0.0
        self._suppressed = 0

    def warning(self, message: str, *args: object) -> None:
        """Log now, or count towards the next line."""
        now = time.monotonic()
        if now < self._next_at:
            self._suppressed += 1
            return
        suppressed, self._suppressed = self._suppressed, 0
        self._next_at = now + _PERIOD_SECS
        self._logger.warning(f"{message} (and %d more like it)", *args, suppressed)  # noqa: G004 - a constant
