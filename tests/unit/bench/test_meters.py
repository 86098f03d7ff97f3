"""CPU and memory of a process tree (docs/performance.md)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers import meters

# A parent that does nothing, and its child that works, holds memory and then waits.
_PROGRAM = """
import os, sys, time
if os.fork():
    os.wait()
held = bytearray(os.urandom(30_000_000))
while time.process_time() < 0.3:
    pass
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def started(program: str) -> Iterator[int]:
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid


def test_a_tree_holds_its_children_and_what_they_use() -> None:
    with started(_PROGRAM) as pid:
        assert len(meters.tree([pid])) == 2
        assert 0.3 <= meters.cpu_secs([pid]) < 3
        assert meters.own_cpu_secs(pid) < 0.2
        assert meters.memory_kib([pid]) > 29_000


def test_what_an_ended_child_has_used_is_not_forgotten() -> None:
    before = meters.cpu_secs([os.getpid()])
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert meters.cpu_secs([os.getpid()]) - before >= 0.29


def test_a_process_that_is_gone_counts_nothing() -> None:
    with started('print("ready")') as pid:
        pass
    assert meters.cpu_secs([pid]) == meters.memory_kib([pid]) == 0
