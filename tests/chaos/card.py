"""The scorecard: what is printed, what is written, and whether it will do (docs/chaos.md)."""

import json
from collections import Counter
from collections.abc import Container
from pathlib import Path

from tests.chaos.check import Committal, Score, judge, judge_without_excuse
from tests.chaos.stage import Line, Stage

# Without a fault (the product's promise): by the broker and not by repair, and database reads of the nodes per event.
_LIVE_MIN = 0.999
_READS_PER_EVENT_MAX = 0.01
_COUNTS = ("sent", "received", "lost", "twice", "out_of_order", "gaps", "false_recovered")
# Details of one line that are printed; all of them are in a file.
_SHOWN = 5
_CONTROL = "control: no dedup, no repair"

HEADING = (
    f"     {'fault':<36}{'sent':>7}{'received':>9}{'lost':>6}{'twice':>6}{'order':>6}{'gaps':>6}{'false':>6}{'live':>9}"
    f"{'worst s':>9}{'median s':>9}{'copies':>8}{'reads':>7}{'took s':>7}"
)


class Card:
    """What has come of the lines that were played so far; `timed` are those whose deliveries are timed, None: all."""

    def __init__(self, stage: Stage, timed: Container[str] | None = None) -> None:
        plant = stage.plant
        self._stage = stage
        self._committal = Committal(plant.ledger.events)
        self._scores = judge(self._committal, [tab.diary for tab in plant.tabs], stage.began, stage.faults, timed)
        self._complaints = [
            *stage.complaints,
            *self._committal.complaints(),
            *plant.ledger.complaints,
            *plant.ledger.compare(),
        ]
        self._complaints += [complaint for tab in plant.tabs for complaint in tab.diary.complaints]
        raw = [plant.raw.diary, *(tab.diary for tab in plant.naive)]
        self._control = judge_without_excuse(self._committal, _CONTROL, raw)

    @property
    def is_fine(self) -> bool:
        """Whether every figure is as asked."""
        return not self._complaints and not any(self.failures(line) for line in self._stage.lines.values())

    @property
    def control_sees(self) -> bool:
        """Whether the judge found losses and copies where there must be some."""
        return self._control.lost > 0 and self._control.twice > 0

    def failures(self, line: Line) -> list[str]:
        """What is off in a line; empty when all is well."""
        score, counted = self._scores[line.name], self._counted(line.name)
        wrong = [*self._stage.wrong[line.name]]
        for name in ("lost", "twice", "out_of_order", "false_recovered", "unknown"):
            if getattr(score, name):
                wrong.append(f"{name}: {getattr(score, name)}")
        if not score.sent:
            wrong.append("nothing was sent")
        if score.gaps and not line.gaps:
            wrong.append(f"gaps: {score.gaps}")
        if score.caught_up_max_s > line.limit_secs:
            wrong.append(
                f"caught up after {score.caught_up_max_s:.2f} s, {line.limit_secs:g} are allowed: {score.latest}"
            )
        if line.median_secs is not None and score.median_wait_s > line.median_secs:
            wrong.append(f"half of the events took {score.median_wait_s:.2f} s and more while it lasted")
        if line.calm:
            live = _live(counted) or 0.0
            if live < _LIVE_MIN:
                wrong.append(f"only {live:.3%} came by the broker")
            if counted["reads"] > _READS_PER_EVENT_MAX * score.sent:
                wrong.append(f"{counted['reads']} reads of the database by nodes for {score.sent} events")
        return wrong

    def line(self, line: Line) -> str:
        """A line for a person, with what is wrong below it."""
        wrong = self.failures(line)
        text = _row("FAIL" if wrong else "ok", self._scores[line.name], self._counted(line.name))
        if line.name in self._stage.took_secs:
            text += f"{self._stage.took_secs[line.name]:>7.0f}"
        details = self._scores[line.name].details
        shown = [*wrong, *details[:_SHOWN], *([f"and {len(details) - _SHOWN} more"] if len(details) > _SHOWN else [])]
        return "\n".join([text, *(f"       {entry}" for entry in shown)])

    def end(self, *, whole: bool) -> str:
        """The control, which has to see something in a `whole` run, and what concerns no single line."""
        blind = whole and not self.control_sees
        text = [_row("FAIL" if blind else "ok", self._control, Counter())]
        if blind:
            text.append("       the control must show losses and copies: the judge does not see")
        return "\n".join([*text, *(f"FAIL {complaint}" for complaint in self._complaints[: 4 * _SHOWN])])

    def write(self, card: Path, details: Path) -> None:
        """Write the card as JSON, whole or not at all, and everything that is wrong."""
        lines = self._stage.lines
        content = {
            "faults": [_json(self._scores[name], self._counted(name)) for name in lines],
            "control": _json(self._control, Counter()),
        }
        new = card.with_suffix(".new")
        new.write_text(json.dumps(content, indent=1) + "\n")
        new.replace(card)
        wrong = [
            f"{line.name}: {entry}"
            for line in lines.values()
            for entry in [*self.failures(line), *self._scores[line.name].details]
        ]
        details.write_text("\n".join([*wrong, *self._complaints, *self._control.details]) + "\n")

    def _counted(self, name: str) -> Counter[str]:
        return self._stage.counted.get(name, Counter())


def _live(counted: Counter[str]) -> float | None:
    """The share of deliveries that came by the broker; None where nothing was delivered."""
    total = counted["live"] + counted["history"]
    return counted["live"] / total if total else None


def _json(score: Score, counted: Counter[str]) -> dict[str, object]:
    live = _live(counted)
    return {
        "name": score.name,
        **{name: getattr(score, name) for name in _COUNTS},
        "live": None if live is None else round(live, 5),
        "caught_up_max_s": round(score.caught_up_max_s, 2),
    }


def _row(word: str, score: Score, counted: Counter[str]) -> str:
    live = _live(counted)
    return (
        f"{word:<5}{score.name:<36}{score.sent:>7}{score.received:>9}{score.lost:>6}{score.twice:>6}"
        f"{score.out_of_order:>6}{score.gaps:>6}{score.false_recovered:>6}{'' if live is None else f'{live:.2%}':>9}"
        f"{score.caught_up_max_s:>9.2f}{score.median_wait_s:>9.2f}{score.transported_twice:>8}{counted['reads']:>7}"
    )
