"""Runs what there is to look at, each area with a deadline (docs/doctor.md)."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from django.db import connections

from .findings import Finding, Placed, Status, fail, one_line, skip

# Added to an area's own deadlines, which know better what did not answer.
_GRACE_SECS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Area:
    """Something to look at.

    Attributes:
        look: says what it finds, one after the other.
        within_secs: what it takes at most when every answer comes at its own deadline.
        needs: names of areas before it: where one of them fails, this one is left out.
    """

    name: str
    look: Callable[[], Iterator[Finding]]
    within_secs: float
    needs: Collection[str] = ()


def look_at(areas: Collection[Area], *, grace_secs: float = _GRACE_SECS) -> Iterator[Placed]:
    """The findings of all areas as they come. It ends, whatever hangs."""
    failed: set[str] = set()
    for area in areas:
        missing = failed.intersection(area.needs)
        if missing:
            failed.add(area.name)
            yield Placed(area.name, skip("not looked at", f"mend {' and '.join(sorted(missing))} first"))
            continue
        for finding in _within_time(area, grace_secs):
            if finding.status is Status.FAIL:
                failed.add(area.name)
            yield Placed(area.name, finding)


def _within_time(area: Area, grace_secs: float) -> Iterator[Finding]:
    found: SimpleQueue[Finding | None] = SimpleQueue()

    def look() -> None:
        try:
            for finding in area.look():
                found.put(finding)
        except Exception as error:
            found.put(fail(one_line(error), "the rest of this area was not looked at"))
        finally:
            connections.close_all()
            found.put(None)

    # A daemon: one that hangs must not keep the command from ending.
    threading.Thread(target=look, name=f"message-flow-doctor-{area.name}", daemon=True).start()
    deadline = time.monotonic() + area.within_secs + grace_secs
    try:
        while (finding := found.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            yield finding
    except Empty:
        yield fail(f"no answer within {area.within_secs:.0f} s", "something there hangs: look whether it runs")
