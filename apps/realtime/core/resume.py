"""Whether a stream can be continued where a client left it (docs/protocol.md, "Resume")."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .codes import GapReason, StreamState

# A BigIntegerField, and what JavaScript's numbers hold exactly is less.
SEQ_MAX: Final = 2**63 - 1


class Cursor(NamedTuple):
    """A position in a stream: the last event that somebody has.

    Attributes:
        epoch: the numbering; empty where it is not known.
        seq: 0 before the first event.
    """

    epoch: str
    seq: int


# What a client sent is no cursor: no numbering has this name.
CORRUPT: Final = Cursor("", 0)


class Position:
    """A cursor that moves: the last durable event of a stream that was written to a socket."""

    __slots__ = ("epoch", "seq")

    def __init__(self, cursor: Cursor) -> None:
        self.epoch, self.seq = cursor


class Head(NamedTuple):
    """Where a stream stands.

    Attributes:
        epoch: the numbering.
        head: the highest seq that was given; 0 before the first event.
        floor: the highest seq that was trimmed away.
    """

    epoch: str
    head: int
    floor: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a client is told of a stream.

    Attributes:
        cursor: the session goes on behind it: the client's own where it recovers, the head where it does not.
        head: the highest seq at the time of the verdict.
        reason: why there is a gap; None in every other state.
    """

    state: StreamState
    cursor: Cursor
    head: int
    reason: GapReason | None = None

    @property
    def replay(self) -> int:
        """How many events follow before live ones."""
        return self.head - self.cursor.seq


DENIED: Final = Verdict(StreamState.DENIED, CORRUPT, 0)


def parse_cursor(value: Any) -> Cursor:
    """The cursor that a client sent, `CORRUPT` where it is none."""
    if not isinstance(value, dict):
        return CORRUPT
    epoch, seq = value.get("epoch"), value.get("seq")
    if not isinstance(epoch, str) or type(seq) is not int or not 0 <= seq <= SEQ_MAX:
        return CORRUPT
    return Cursor(epoch, seq)


def may_recover(since: Cursor, head: Head, replay_max: int) -> bool:
    """Whether it is worth to look for the events behind `since`."""
    return since.epoch == head.epoch and 0 <= head.head - since.seq <= replay_max


def judge(since: Cursor | None, head: Head, stored: int, replay_max: int) -> Verdict:
    """Decide by the rules of protocol.md, "Resume", 3 to 5.

    Args:
        since: where the client stands; None where it asks for nothing.
        head: read after the live feed of the stream had been opened.
        stored: how many events of (since, head] the database holds.
        replay_max: more than that are not replayed.
    """
    here = Cursor(head.epoch, head.head)
    if since is None:
        return Verdict(StreamState.NEW, here, head.head)
    if since.epoch != head.epoch or since.seq > head.head:
        return Verdict(StreamState.GAP, here, head.head, GapReason.EPOCH)
    behind = head.head - since.seq
    if behind > replay_max:
        return Verdict(StreamState.GAP, here, head.head, GapReason.TOO_MANY)
    if stored != behind:
        return Verdict(StreamState.GAP, here, head.head, GapReason.TRIMMED)
    return Verdict(StreamState.RECOVERED, since, head.head)
