"""What a process and all below it have used: CPU and memory, from /proc (docs/performance.md)."""

import time
from collections.abc import Iterable
from pathlib import Path

_TICK_SECS = 0.01


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and everything that they have started and that still runs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(roots)
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_secs(roots: Iterable[int]) -> float:
    """User and system time of the trees so far, that of ended children included."""
    return sum(map(_cpu_secs, tree(roots)))


def own_cpu_secs(pid: int) -> float:
    """User and system time of one process so far, without those below it; cheap."""
    try:
        # The kernel's clock of another process (see clock_getcpuclockid): /proc has it in steps of 10 ms only.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def memory_kib(roots: Iterable[int]) -> int:
    """Resident memory of the trees, what they share counted once."""
    return sum(map(_pss_kib, tree(roots)))


def _cpu_secs(pid: int) -> float:
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
    except OSError:
        return 0.0
    return own_cpu_secs(pid) + sum(map(int, ended)) * _TICK_SECS


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
