"""The judge of `make chaos` sees each thing that it is there for (docs/chaos.md)."""

from collections.abc import Sequence

from tests.chaos.check import Committal, Score, judge, judge_without_excuse
from tests.chaos.records import Applied, Committed, Cursor, Diary, Fault, Verdict

STREAM = "user.1"
ROW = "a fault"


def committed(seq: int, epoch: str = "a", at: float = 10.0) -> Committed:
    return Committed(STREAM, epoch, seq, f"{epoch}{seq}", ROW, at)


def applied(seq: int, epoch: str = "a", at: float = 10.0, mid: str = "") -> Applied:
    return Applied(STREAM, epoch, seq, mid or f"{epoch}{seq}", at)


def verdict(state: str, head: tuple[str, int], since: tuple[str, int] | None = None, replay: int = 0) -> Verdict:
    return Verdict(STREAM, state, Cursor(*head), Cursor(*since) if since else None, replay, "", 10.0)


NEW = verdict("new", ("a", 0))
FIVE = [committed(seq) for seq in range(1, 6)]


def diary(*entries: Applied | Verdict, dropped: Sequence[Applied] = ()) -> Diary:
    return Diary("the tab", (STREAM,), 0, list(entries), list(dropped))


def score(events: Sequence[Committed], *diaries: Diary, faults: Sequence[Fault] = ()) -> Score:
    return judge(Committal(events), diaries, {ROW: 0.0}, {ROW: faults})[ROW]


def flaws(found: Score) -> dict[str, int]:
    names = ("lost", "twice", "out_of_order", "gaps", "false_recovered", "told", "unknown")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


def test_all_is_well() -> None:
    found = score(FIVE, diary(NEW, *map(applied, range(1, 6))))
    assert (found.sent, found.received, flaws(found)) == (5, 5, {})


def test_a_missing_event_is_lost_wherever_it_was() -> None:
    for missing in range(1, 6):
        found = score(FIVE, diary(NEW, *(applied(seq) for seq in range(1, 6) if seq != missing)))
        assert (found.received, flaws(found)) == (4, {"lost": 1})
        assert f"seq {missing}" in found.details[0]


def test_an_event_is_received_only_when_all_tabs_have_it() -> None:
    found = score(FIVE, diary(NEW, *map(applied, range(1, 6))), diary(NEW, *map(applied, range(1, 5))))
    assert (found.sent, found.received, flaws(found)) == (5, 4, {"lost": 1})


def test_what_was_before_a_tab_is_not_owed() -> None:
    assert flaws(score(FIVE, diary(verdict("new", ("a", 3)), applied(4), applied(5)))) == {}


def test_twice() -> None:
    entries: list[Applied | Verdict] = [NEW, *map(applied, range(1, 6)), applied(5)]
    assert flaws(score(FIVE, diary(*entries))) == {"twice": 1}


def test_an_event_that_got_two_numbers_is_twice() -> None:
    again = Committed(STREAM, "a", 6, "a5", ROW, 10.0)
    entries: list[Applied | Verdict] = [NEW, *map(applied, range(1, 6)), applied(6, mid="a5")]
    assert flaws(score([*FIVE, again], diary(*entries)))["twice"] == 1
    assert Committal([*FIVE, again]).complaints()


def test_out_of_order() -> None:
    entries: list[Applied | Verdict] = [NEW, applied(1), applied(3), applied(2), applied(4), applied(5)]
    assert flaws(score(FIVE, diary(*entries))) == {"out_of_order": 1}


def test_an_event_too_late_for_the_cursor_is_lost_and_out_of_order() -> None:
    entries: list[Applied | Verdict] = [NEW, applied(1), applied(3), applied(4), applied(5)]
    assert flaws(score(FIVE, diary(*entries, dropped=[applied(2)]))) == {"lost": 1, "out_of_order": 1}


def test_a_copy_that_the_cursor_dropped_is_no_flaw() -> None:
    found = score(FIVE, diary(NEW, *map(applied, range(1, 6)), dropped=[applied(5)]))
    assert (flaws(found), found.transported_twice) == ({}, 1)


def test_a_gap_is_counted_and_excuses_what_it_skips_alone() -> None:
    gap = verdict("gap", ("a", 4), ("a", 2))
    assert flaws(score(FIVE, diary(NEW, applied(1), applied(2), gap, applied(5)))) == {"gaps": 1, "told": 2}
    # Event 1 was missed before the gap spoke of anything.
    assert flaws(score(FIVE, diary(NEW, applied(2), gap, applied(5)))) == {"lost": 1, "gaps": 1, "told": 2}
    assert flaws(score(FIVE, diary(NEW, applied(1), applied(2), gap))) == {"lost": 1, "gaps": 1, "told": 2}


def test_a_gap_into_another_epoch() -> None:
    events = [*FIVE, *(committed(seq, "b") for seq in range(1, 4))]
    told = diary(NEW, applied(1), verdict("gap", ("b", 1), ("a", 1)), applied(2, "b"), applied(3, "b"))
    assert flaws(score(events, told)) == {"gaps": 1, "told": 5}
    silent = diary(NEW, applied(1), verdict("new", ("b", 1), ("a", 1)), applied(2, "b"), applied(3, "b"))
    assert flaws(score(events, silent)) == {"lost": 5}


def test_a_tab_that_is_told_new_though_it_had_a_cursor_has_lost_what_it_missed() -> None:
    assert flaws(score(FIVE, diary(NEW, applied(1), verdict("new", ("a", 4)), applied(5)))) == {"lost": 3}


def test_recovered_with_everything_that_follows() -> None:
    recovered = verdict("recovered", ("a", 4), ("a", 2), replay=2)
    assert flaws(score(FIVE, diary(NEW, applied(1), applied(2), recovered, *map(applied, (3, 4, 5))))) == {}


def test_false_recovered() -> None:
    rest = [applied(3), applied(4), applied(5)]
    for false in (
        verdict("recovered", ("a", 4), ("a", 2), replay=1),
        verdict("recovered", ("a", 9), ("a", 2), replay=7),
        verdict("recovered", ("b", 4), ("a", 2), replay=2),
        verdict("recovered", ("a", 4), None, replay=2),
    ):
        assert flaws(score(FIVE, diary(NEW, applied(1), applied(2), false, *rest))) == {"false_recovered": 1}
    honest = verdict("recovered", ("a", 4), ("a", 2), replay=2)
    missing = diary(NEW, applied(1), applied(2), honest, applied(4), applied(5))
    assert flaws(score(FIVE, missing)) == {"lost": 1, "false_recovered": 1}


def test_an_event_that_nobody_committed() -> None:
    entries: list[Applied | Verdict] = [NEW, *map(applied, range(1, 6)), applied(6)]
    assert flaws(score(FIVE, diary(*entries))) == {"unknown": 1}
    entries = [NEW, *map(applied, range(1, 5)), applied(5, mid="a4x")]
    assert flaws(score(FIVE, diary(*entries))) == {"lost": 1, "unknown": 1}


def test_time_counts_from_the_commit_or_from_the_end_of_the_fault() -> None:
    events = [committed(1, at=10.0)]
    tab = diary(NEW, applied(1, at=18.0))
    assert score(events, tab).caught_up_max_s == 8.0
    found = score(events, tab, faults=[Fault(9.0, 16.0)])
    assert (found.caught_up_max_s, found.median_wait_s) == (2.0, 8.0)
    # Another group's network, and a fault that came only later, excuse nothing.
    assert score(events, tab, faults=[Fault(9.0, 16.0, 1), Fault(19.0, 25.0)]).caught_up_max_s == 8.0


def test_numbers_of_the_committed_list() -> None:
    assert Committal(FIVE).complaints() == []
    assert Committal(FIVE[:2] + FIVE[3:]).complaints()
    assert Committal([*FIVE, Committed(STREAM, "a", 5, "other", ROW, 10.0)]).complaints()


def test_the_control_is_excused_by_nothing() -> None:
    gap = verdict("gap", ("a", 4), ("a", 1))
    found = judge_without_excuse(Committal(FIVE), "control", [diary(NEW, applied(1), applied(1), gap, applied(5))])
    assert (found.sent, found.received, found.lost, found.twice) == (5, 2, 3, 1)
