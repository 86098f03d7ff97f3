"""What the doctor says, and how it looks (docs/doctor.md)."""

import json

from apps.realtime.management.doctor.findings import Placed, Status, Writer, fail, ok, one_line, skip, warn


def test_no_secret_gets_out_and_nothing_steers_the_terminal() -> None:
    writer = Writer(["hunter", "hunter-and-more", "short", ""])
    told = writer.cleaned(fail("hunter-and-more short \x1b[2J\n", "hunter \u202e"))
    assert told == fail("••• short \\u001b[2J\\u000a", "••• \\u202e")


def test_a_finding_is_a_line_and_what_to_do_another() -> None:
    writer = Writer([])
    assert writer.lines(Placed("broker", ok("fine"))) == "OK    broker    fine"
    assert writer.lines(Placed("broker", warn("slow", "wait"))) == "WARN  broker    slow\n                → wait"


def test_a_program_gets_all_of_it() -> None:
    writer = Writer([])
    good = [Placed("a", ok("fine")), Placed("b", skip("not seen", "look"))]
    assert json.loads(writer.json(good)) == {
        "status": "ok",
        "findings": [
            {"area": "a", "status": "OK", "found": "fine", "advice": None},
            {"area": "b", "status": "SKIP", "found": "not seen", "advice": "look"},
        ],
    }
    bad = json.loads(writer.json([*good, Placed("c", fail("bad", "mend"))]))
    assert (bad["status"], bad["findings"][2]["status"]) == ("fail", Status.FAIL)


def test_an_exception_is_one_line() -> None:
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(TimeoutError()) == "TimeoutError: no details"
    assert len(one_line(ValueError("x" * 5_000))) < 1_100
