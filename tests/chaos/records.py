"""What was committed, and what a tab was told and applied (docs/chaos.md)."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Cursor(NamedTuple):
    """The place of an event in its stream (docs/protocol.md, section 1)."""

    epoch: str
    seq: int


class Committed(NamedTuple):
    """A durable event as the database holds it.

    Attributes:
        row: the line of the card that it belongs to.
        at: unix seconds; when the call that made it returned, else when its row was inserted.
    """

    stream: str
    epoch: str
    seq: int
    mid: str
    row: str
    at: float


class Applied(NamedTuple):
    """A tab took an event over into its page, or, in `Diary.dropped`, dropped it."""

    stream: str
    epoch: str
    seq: int
    mid: str
    at: float


class Verdict(NamedTuple):
    """What the server said of a stream: in AUTH OK, or by GAP, whose `state` is `gap` too.

    Attributes:
        head: the stream's head then; where a tab without a snapshot goes on after `new` and `gap`.
        since: the cursor that the tab had sent.
    """

    stream: str
    state: str
    head: Cursor
    since: Cursor | None
    replay: int
    reason: str
    at: float


class Fault(NamedTuple):
    """Something was broken from `start` to `end` (unix seconds), for the tabs of one group or for all."""

    start: float
    end: float
    group: int | None = None


@dataclass
class Diary:
    """One tab's own account, written as things happened.

    Attributes:
        streams: what it listens to.
        group: whose network it shares.
        dropped: events at or below the cursor; those that it has applied before were transported twice.
        complaints: what the protocol forbids and the server did all the same.
    """

    name: str
    streams: tuple[str, ...]
    group: int = 0
    entries: list[Applied | Verdict] = field(default_factory=list)
    dropped: list[Applied] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
