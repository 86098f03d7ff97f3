"""The judge: compares what each tab applied with what was committed (docs/chaos.md).

It knows the protocol and nothing of the product: not its code, its counters or its tables.
"""

import statistics
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.records import Applied, Committed, Cursor, Diary, Fault, Verdict


@dataclass
class Score:
    """One line of the card. All but `sent` and `received` count pairs of a tab and an event or verdict.

    Attributes:
        sent: events committed.
        received: those of them that came to every tab to which they were owed.
        told: events that a tab missed and was told of by a gap.
        unknown: events that a tab applied and nobody committed.
        transported_twice: copies that a tab's cursor dropped.
        caught_up_max_s: the longest of all deliveries, from the commit or the end of the fault that delayed it.
        latest: which delivery that was.
        waits: for each delivery of an event that was committed during a fault, seconds from the commit.
        details: what is wrong, one a line.
    """

    name: str
    sent: int = 0
    received: int = 0
    lost: int = 0
    twice: int = 0
    out_of_order: int = 0
    gaps: int = 0
    false_recovered: int = 0
    told: int = 0
    unknown: int = 0
    transported_twice: int = 0
    caught_up_max_s: float = 0.0
    latest: str = ""
    waits: list[float] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    @property
    def median_wait_s(self) -> float:
        """How long an event took while something was broken."""
        return statistics.median(self.waits) if self.waits else 0.0


class Committal:
    """All that was committed; epochs of a stream count as following each other in the order of `events`."""

    def __init__(self, events: Iterable[Committed]) -> None:
        self.events = list(events)
        self._by_mid = {(event.stream, event.mid): event for event in self.events}
        self._by_place = {(event.stream, event.epoch, event.seq): event for event in self.events}
        self._streams: defaultdict[str, dict[str, list[Committed]]] = defaultdict(dict)
        # Many tabs begin at the same place.
        self._after: dict[tuple[str, Cursor, int | None], list[Committed]] = {}
        for event in self.events:
            self._streams[event.stream].setdefault(event.epoch, []).append(event)
        for epochs in self._streams.values():
            for numbered in epochs.values():
                numbered.sort(key=lambda event: event.seq)

    def complaints(self) -> list[str]:
        """A number given twice, or none: a fault of the numbering itself."""
        wrong = []
        if len(self._by_mid) != len(self.events) or len(self._by_place) != len(self.events):
            wrong.append("a mid or a number of the committed list stands there twice")
        for stream, epochs in self._streams.items():
            for epoch, numbered in epochs.items():
                if [event.seq for event in numbered] != list(range(1, len(numbered) + 1)):
                    wrong.append(f"the numbers of {stream} in epoch {epoch} are not 1 to {len(numbered)}")
        return wrong

    def at(self, stream: str, epoch: str, seq: int) -> Committed | None:
        """The event with this number."""
        return self._by_place.get((stream, epoch, seq))

    def called(self, stream: str, mid: str) -> Committed | None:
        """The event with this mid."""
        return self._by_mid.get((stream, mid))

    def after(self, stream: str, place: Cursor, up_to: int | None = None) -> list[Committed]:
        """The events of the place's epoch that follow it."""
        key = (stream, place, up_to)
        if key not in self._after:
            numbered = self._streams[stream].get(place.epoch, [])
            self._after[key] = [
                event for event in numbered if event.seq > place.seq and (up_to is None or event.seq <= up_to)
            ]
        return self._after[key]

    def order(self, stream: str, epoch: str) -> int:
        """The position of an epoch among those of its stream; one without events is the newest."""
        epochs = list(self._streams[stream])
        return epochs.index(epoch) if epoch in epochs else len(epochs)

    def since(self, stream: str, place: Cursor) -> list[Committed]:
        """All events that follow the place, of later epochs too; a place without an epoch is before them all."""
        start = self.order(stream, place.epoch) if place.epoch else -1
        later = [event for numbered in list(self._streams[stream].values())[start + 1 :] for event in numbered]
        return self.after(stream, place) + later


class _Lines:
    """The lines of the card by name and by time."""

    def __init__(self, began: Mapping[str, float]) -> None:
        self.scores = {row: Score(row) for row in began}
        self._starts = sorted((at, row) for row, at in began.items())

    def at(self, at: float) -> Score:
        """The line that was being played then."""
        position = bisect_right(self._starts, at, key=lambda start: start[0])
        return self.scores[self._starts[max(position - 1, 0)][1]]


class _Debt(NamedTuple):
    owed: list[Committed]
    told: list[Committed]


def judge(
    committal: Committal,
    diaries: Iterable[Diary],
    began: Mapping[str, float],
    faults: Mapping[str, Sequence[Fault]],
    timed: Container[str] | None = None,
) -> dict[str, Score]:
    """A score for each line of the card.

    Args:
        committal: what should have come.
        diaries: what came.
        began: when each line began, unix seconds.
        faults: what was broken in each line.
        timed: the lines of which deliveries are timed, which is the costly part; None: all.
    """
    lines = _Lines(began)
    missed_by: Counter[tuple[str, str]] = Counter()
    for diary in diaries:
        for stream in diary.streams:
            entries = [entry for entry in diary.entries if entry.stream == stream]
            debt = _debt(committal, stream, entries)
            applied = _applied(committal, lines, diary, entries)
            lost = [event for event in debt.owed if event.mid not in applied]
            for event in lost:
                missed_by[event.stream, event.mid] += 1
                score = lines.scores[event.row]
                score.lost += 1
                score.details.append(f"lost: {_named(event)} by {diary.name}")
            for event in debt.told:
                if event.mid not in applied:
                    lines.scores[event.row].told += 1
            for event in debt.owed:
                if event.mid in applied and (timed is None or event.row in timed):
                    _time(lines.scores[event.row], event, applied[event.mid], faults.get(event.row, ()), diary)
            _dropped(lines, diary, stream, applied, {event.mid for event in lost})
            _verdicts(committal, lines, diary, entries, lost)
    for event in committal.events:
        score = lines.scores[event.row]
        score.sent += 1
        score.received += missed_by[event.stream, event.mid] == 0
    return lines.scores


def judge_without_excuse(committal: Committal, name: str, diaries: Iterable[Diary]) -> Score:
    """The control: whatever was committed since it began to listen is owed, and no gap excuses."""
    lines = _Lines({name: 0.0})
    score = lines.scores[name]
    for diary in diaries:
        for stream in diary.streams:
            entries = [entry for entry in diary.entries if entry.stream == stream]
            applied = _applied(committal, lines, diary, entries)
            first = next((entry.head for entry in entries if isinstance(entry, Verdict)), None)
            owed = [] if first is None else committal.since(stream, first)
            score.sent += len(owed)
            score.received += sum(event.mid in applied for event in owed)
    score.lost = score.sent - score.received
    return score


def _debt(committal: Committal, stream: str, entries: Iterable[Applied | Verdict]) -> _Debt:
    """What a tab must have applied of a stream, and what it may have missed because it was told."""
    begin: Cursor | None = None  # where it began to listen
    base: Cursor | None = None  # where it began, or went on after the last gap
    last = 0  # the highest seq that it applied since then
    owed: list[Committed] = []
    for entry in entries:
        if isinstance(entry, Applied):
            last = max(last, entry.seq)
        elif entry.state == "new" and base is None:
            begin = base = entry.head
            last = entry.head.seq
        elif entry.state == "new" and base is not None and base.epoch != entry.head.epoch:
            # It had a cursor: nothing told it of a gap, so that all of both epochs is owed.
            owed += committal.after(stream, base)
            base, last = Cursor(entry.head.epoch, 0), 0
        elif entry.state == "gap":
            if base is not None:
                owed += committal.after(stream, base, up_to=last)
            begin = begin or entry.head
            base, last = entry.head, entry.head.seq
    if base is None or begin is None:
        return _Debt([], [])
    owed += committal.after(stream, base)
    mids = {event.mid for event in owed}
    return _Debt(owed, [event for event in committal.since(stream, begin) if event.mid not in mids])


def _applied(
    committal: Committal, lines: _Lines, diary: Diary, entries: Iterable[Applied | Verdict]
) -> dict[str, Applied]:
    """What a tab applied of a stream, by mid; counts what it applied wrongly."""
    applied: dict[str, Applied] = {}
    last = (-1, 0)
    for entry in entries:
        if isinstance(entry, Verdict):
            continue
        event = committal.called(entry.stream, entry.mid)
        if event is None or committal.at(entry.stream, entry.epoch, entry.seq) is not event:
            score = lines.at(entry.at) if event is None else lines.scores.get(event.row) or lines.at(entry.at)
            score.unknown += 1
            score.details.append(f"not committed so: {_named(entry)} by {diary.name}")
            applied.setdefault(entry.mid, entry)
            continue
        score = lines.scores.get(event.row) or lines.at(entry.at)
        place = (committal.order(entry.stream, entry.epoch), entry.seq)
        if entry.mid in applied:
            score.twice += 1
            score.details.append(f"twice: {_named(entry)} by {diary.name}")
        elif place < last:
            score.out_of_order += 1
            score.details.append(f"out of order: {_named(entry)} by {diary.name}")
        last = max(last, place)
        applied.setdefault(entry.mid, entry)
    return applied


def _dropped(lines: _Lines, diary: Diary, stream: str, applied: Mapping[str, Applied], lost: set[str]) -> None:
    """A copy that the cursor dropped is no harm; an event that came too late for the cursor is out of order."""
    for entry in diary.dropped:
        if entry.stream != stream:
            continue
        score = lines.at(entry.at)
        if entry.mid in applied:
            score.transported_twice += 1
        elif entry.mid in lost:
            score.out_of_order += 1
            score.details.append(f"out of order: {_named(entry)} by {diary.name}")


def _time(score: Score, event: Committed, applied: Applied, faults: Sequence[Fault], diary: Diary) -> None:
    due = event.at
    for fault in faults:
        if fault.group in (None, diary.group):
            if fault.start <= event.at <= fault.end:
                score.waits.append(max(0.0, applied.at - event.at))
            if fault.start <= applied.at:
                due = max(due, fault.end)
    late = max(0.0, applied.at - due)
    if late > score.caught_up_max_s:
        score.caught_up_max_s = late
        score.latest = f"{_named(event)}, committed at {event.at:.1f}, by {diary.name} at {applied.at:.1f}"


def _verdicts(
    committal: Committal,
    lines: _Lines,
    diary: Diary,
    entries: Iterable[Applied | Verdict],
    lost: Iterable[Committed],
) -> None:
    for entry in entries:
        if isinstance(entry, Applied):
            continue
        score = lines.at(entry.at)
        if entry.state == "gap":
            score.gaps += 1
        if entry.state != "recovered":
            continue
        missed = entry.head.seq - entry.since.seq if entry.since else -1
        proven = (
            entry.since is not None
            and entry.head.epoch == entry.since.epoch
            and entry.replay == missed
            and len(committal.after(entry.stream, entry.since, up_to=entry.head.seq)) == missed
            and not any(
                event.epoch == entry.since.epoch and entry.since.seq < event.seq <= entry.head.seq for event in lost
            )
        )
        if not proven:
            score.false_recovered += 1
            score.details.append(f"false recovered: {entry} of {diary.name}")


def _named(event: Committed | Applied) -> str:
    return f"{event.stream} seq {event.seq} of epoch {event.epoch}, mid {event.mid}"
