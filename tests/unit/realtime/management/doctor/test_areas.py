"""Each area has a deadline, and is left out where it could not say anything (docs/doctor.md)."""

import threading
from collections.abc import Iterator

from apps.realtime.management.doctor.areas import Area, look_at
from apps.realtime.management.doctor.findings import Finding, Placed, Status, fail, ok


def well() -> Iterator[Finding]:
    yield ok("one")
    yield ok("two")


def ill() -> Iterator[Finding]:
    yield ok("so far")
    yield fail("bad", "mend it")


def broken() -> Iterator[Finding]:
    yield ok("so far")
    raise ValueError("a\nb")


def test_areas_come_in_their_order_and_wait_for_nobody_who_failed() -> None:
    areas = [
        Area("a", ill, 5),
        Area("b", well, 5),
        Area("c", well, 5, needs=["a", "b"]),
        Area("d", well, 5, needs=["c"]),
        Area("e", well, 5, needs=["b"]),
    ]
    found = list(look_at(areas))
    assert [(area, finding.status) for area, finding in found] == [
        ("a", Status.OK),
        ("a", Status.FAIL),
        ("b", Status.OK),
        ("b", Status.OK),
        ("c", Status.SKIP),
        ("d", Status.SKIP),
        ("e", Status.OK),
        ("e", Status.OK),
    ]
    assert found[4].finding.advice == "mend a first"
    assert found[5].finding.advice == "mend c first"


def test_an_error_is_a_finding() -> None:
    assert list(look_at([Area("a", broken, 5)])) == [
        Placed("a", ok("so far")),
        Placed("a", fail("ValueError: a b", "the rest of this area was not looked at")),
    ]


def test_what_hangs_is_left() -> None:
    end = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield ok("so far")
        end.wait()

    try:
        found = list(look_at([Area("a", hangs, 0.05), Area("b", well, 5)], grace_secs=0.05))
    finally:
        end.set()
    assert [finding.status for _, finding in found] == [Status.OK, Status.FAIL, Status.OK, Status.OK]
    assert "no answer within" in found[1].finding.found
