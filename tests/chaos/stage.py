"""Plays the lines of the card: load, fault, load, and then the wait until everybody has everything (docs/chaos.md)."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.chaos.plant import Plant
from tests.chaos.records import Fault

# Longer than any limit of the card: what comes later than its limit is late, what does not come by then is lost.
_PATIENCE_SECS = 15.0
_PAUSE_SECS = 5.5
# Whatever was left unconfirmed is taken over when its lease ends.
_CONFIRMED_SECS = 15.0


@dataclass(frozen=True)
class Line:
    """What is asked of a line of the card.

    Attributes:
        name: as it is printed.
        play: breaks things, while the web processes publish.
        limit_secs: how long after a fault's end an event may come.
        gaps: whether clients may be told of gaps.
        calm: nothing is broken: nearly all must come by the broker, and the nodes must nearly never ask the database.
        median_secs: what half of the events may take while something is broken; None: any time.
        verify: called when everybody has everything; returns what is wrong.
    """

    name: str
    play: Callable[["Stage"], Awaitable[None]]
    limit_secs: float = 5.0
    gaps: bool = False
    calm: bool = False
    median_secs: float | None = None
    verify: Callable[["Stage"], list[str]] | None = None


class Stage:
    """Where lines are played, and what was seen.

    Attributes:
        began: when each line began.
        faults: what was broken in each line, and when.
        counted: what the nodes counted in each line.
        took_secs: how long each line was played.
        wrong: what went wrong beside the events.
        lines: those that were played, and those that they opened.
        complaints: what is wrong and concerns no line any more.
    """

    def __init__(self, plant: Plant, *, quick: bool) -> None:
        self.plant = plant
        self.quick = quick
        self.line = ""
        self.lines: dict[str, Line] = {}
        self.began: dict[str, float] = {}
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.counted: dict[str, Counter[str]] = {}
        self.took_secs: dict[str, float] = {}
        self.wrong: defaultdict[str, list[str]] = defaultdict(list)
        self.complaints: list[str] = []
        self._unfinished: list[Callable[[], Awaitable[list[str]]]] = []

    def choose(self, full: int, quick: int) -> int:
        """How often, or for how many seconds, in this run."""
        return quick if self.quick else full

    async def pause(self) -> None:
        """Between two faults of one kind, of which a quick run has one: until the first one's limit has passed."""
        await asyncio.sleep(self.choose(1, 0) * _PAUSE_SECS)

    @asynccontextmanager
    async def fault(self, group: int | None = None, line: str = "") -> AsyncIterator[None]:
        """Something is broken inside, and whole again behind."""
        start = time.time()
        yield
        self.faults[line or self.line].append(Fault(start, time.time(), group))

    async def play(self, line: Line) -> None:
        """Play a line to its end."""
        plant = self.plant
        self.line = line.name
        self.lines[line.name] = line
        plant.meters.take()
        self.began[line.name] = time.time()
        await self.load()
        around_secs = 0.5 if self.quick else 3.0
        await asyncio.sleep(around_secs)
        await line.play(self)
        await asyncio.sleep(around_secs)
        await self.rest()
        if not await plant.settled(line.limit_secs + _PATIENCE_SECS):
            self.wrong[line.name].append("not every tab has everything")
        if line.verify is not None:
            self.wrong[line.name] += line.verify(self)
        counted = plant.meters.take()
        for name in self.lines.keys() - self.counted.keys():
            # This line and those within it.
            self.counted[name] = counted
        await asyncio.to_thread(plant.ledger.collect)
        self.wrong[line.name] += self._deaths()
        await plant.spread()
        self.took_secs[line.name] = time.time() - self.began[line.name]

    async def load(self, rate: float = 0.0, bulk: int = 1) -> None:
        """Let the web processes publish, at the usual rate unless another is named, to `bulk` users a call."""
        each = (rate or self.plant.size.rate) / len(self.plant.webs)
        await asyncio.gather(*(web.order(row=self.line, rate=each, bulk=bulk) for web in self.plant.webs))

    async def rest(self) -> None:
        """Let them pause; returns when their last calls have returned."""
        await asyncio.gather(*(web.order(stop=True) for web in self.plant.webs))

    def open(self, name: str, limit_secs: float) -> None:
        """One more line of the card, within the one that is played."""
        self.lines[name] = Line(name, _nothing, limit_secs)
        self.began[name] = float("inf")

    def to_finish(self, check: Callable[[], Awaitable[list[str]]]) -> None:
        """Something whose time comes while other lines are played; `check` waits for it and returns what is wrong."""
        self._unfinished.append(check)

    async def finish(self) -> None:
        """All lines were played: wait for what takes longer."""
        for check in self._unfinished:
            self.complaints += await check()
        if not await self.plant.until(lambda: self.plant.ledger.unconfirmed() == 0, _CONFIRMED_SECS):
            self.complaints.append(f"{self.plant.ledger.unconfirmed()} events were never confirmed")

    def _deaths(self) -> list[str]:
        plant = self.plant
        dead = [f"node {number} died" for number, node in enumerate(plant.nodes) if not node.process.running]
        return dead + ([] if plant.relay.running else ["the relay died"])


async def _nothing(stage: Stage) -> None:
    """An extra line is played by the line that opened it."""
