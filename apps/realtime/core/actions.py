"""What a session asks of its driver, and what it answers to an event that is offered (docs/node.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from .codes import CloseCode
from .names import Stream
from .resume import Cursor


@dataclass(frozen=True, slots=True)
class Send:
    """Write this text frame."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket; no action follows."""

    code: CloseCode


@dataclass(frozen=True, slots=True)
class Verify:
    """Check this token, then call `verified`, `refused` or `unavailable`."""

    token: str


@dataclass(frozen=True, slots=True)
class Open:
    """Open these streams and those of the topics that the user may hear, judge each, then call `opened`.

    `since` holds what the client has of them, and whatever else it claims.
    """

    streams: tuple[Stream, ...]
    topics: tuple[str, ...]
    since: Mapping[str, Cursor]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Open the topic's stream if the user may hear it, judge it, then call `subscribed`."""

    topic: str
    ref: str | int | None
    since: Cursor | None


@dataclass(frozen=True, slots=True)
class Leave:
    """This stream is not wanted any more."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class CatchUp:
    """There is room for more of these streams again: `take` what follows the session's position in each."""

    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The client has every event of its user's stream up to here; only where `tells_acknowledged` is set."""

    stream: Stream
    cursor: Cursor


Action = Send | Close | Verify | Open | Subscribe | Leave | CatchUp | Acknowledged


class Taken(Enum):
    """What `take` did with a durable event."""

    SENT = auto()
    # The client has it already.
    COPY = auto()
    # One before it is missing.
    BEHIND = auto()
    # The window is full; `CatchUp` follows the acknowledgement.
    FULL = auto()
    # This session does not listen to the stream, or not yet.
    UNWANTED = auto()
