"""How much of everything a run has, and which waits it shortens (docs/chaos.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Size:
    """A run.

    Attributes:
        users: each with two tabs.
        rate: calls of `notify` a second, by all web processes together.
        settings: of every process of the site.
    """

    users: int
    rate: float
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def found_secs(self) -> float:
        """What is allowed for finding a silent loss, of a connection or a binding: 33 s with the usual heartbeat."""
        return 3 * (float(self.settings["REALTIME_AMQP_HEARTBEAT_SECS"]) + 1)


# What a killed process leaves is taken over when its lease ends: 30 s by default, and 5 s are what the card allows.
_LEASE_SECS: Final = "2"

FULL: Final = Size(
    users=200,
    rate=60.0,
    settings={
        "REALTIME_LEASE_SECS": _LEASE_SECS,
        "REALTIME_AMQP_HEARTBEAT_SECS": "10",
        "REALTIME_HEAD_CHECK_SECS": "30",
    },
)
QUICK: Final = Size(
    users=40,
    rate=60.0,
    settings={
        "REALTIME_LEASE_SECS": _LEASE_SECS,
        "REALTIME_AMQP_HEARTBEAT_SECS": "2",
        "REALTIME_HEAD_CHECK_SECS": "5",
    },
)
