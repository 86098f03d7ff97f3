"""Finding and ending processes by what they are, not by remembered numbers (docs/stack.md).

A number in a file may belong to somebody else after a crash or a reboot. Linux only: reads /proc.
"""

import os
import signal
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from ops.services.waiting import DeadlineError, wait_for


def with_variable(name: str, value: str) -> set[int]:
    """Processes that were started with the environment variable `name` set to `value`, ourselves excluded."""
    wanted = f"{name}={value}".encode()
    return _all(lambda process: wanted in (process / "environ").read_bytes().split(b"\0"))


def working_below(folder: Path, programs: Collection[str]) -> set[int]:
    """Processes of `programs` whose working folder is `folder` or below it.

    nginx and PostgreSQL overwrite their environment with their titles, but each stays in its folder.
    """
    root = folder.resolve()
    return _all(
        lambda process: (
            (process / "comm").read_text().strip() in programs
            and Path(os.readlink(process / "cwd")).is_relative_to(root)
        )
    )


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie, which only waits to be collected, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end(pids: Iterable[int], grace_secs: float) -> None:
    """SIGTERM to all, SIGKILL to those still there after `grace_secs`; returns when all have gone."""
    left = set(pids)
    _signal(left, signal.SIGTERM)
    try:
        wait_for(lambda: not any(map(is_alive, left)), grace_secs, "processes end")
    except DeadlineError:
        _signal(left, signal.SIGKILL)
        wait_for(lambda: not any(map(is_alive, left)), 10, f"killed processes end: {sorted(left)}")


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _all(matches: Callable[[Path], bool]) -> set[int]:
    found = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            if matches(process) and is_alive(int(process.name)):
                found.add(int(process.name))
        except OSError:
            continue  # It ended meanwhile, or belongs to somebody else.
    return found
