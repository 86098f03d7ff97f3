"""ops/side_by_side.py tells what failed and leaves nothing behind (docs/stack.md)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.processes import is_alive
from ops.services import wait_for

ROOT = Path(__file__).parents[3]
# Leaves its parent's session and outlives it, as a server does whose test was killed.
DETACHED = "setsid sleep 600 & echo $! > {file}"


@contextmanager
def started(logs: Path, *jobs: str) -> Iterator[subprocess.Popen[str]]:
    command: list[str | Path] = [sys.executable, "-m", "ops.side_by_side", "--at-once", "2", "--logs", logs, *jobs]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def run(logs: Path, *jobs: str) -> tuple[int, str]:
    with started(logs, *jobs) as process:
        printed, _ = process.communicate(timeout=60)
    return process.returncode, printed


def test_of_what_succeeds_the_last_line_is_shown(tmp_path: Path) -> None:
    status, printed = run(tmp_path, "first=sh -c 'echo noise; echo good'", "second=true", "third=echo fine")
    assert status == 0
    assert "noise" not in printed
    for name, said in (("first", "good"), ("second", ""), ("third", "fine")):
        assert any(line.endswith(f"of CPU: {said}") for line in printed.splitlines() if f"{name}: passed" in line)


def test_of_what_fails_everything_is_shown_and_the_others_go_on(tmp_path: Path) -> None:
    status, printed = run(tmp_path, "bad=sh -c 'echo one; echo two >&2; exit 3'", "good=echo fine", "late=echo late")
    assert status == 1
    assert "bad: FAILED with 3" in printed
    assert "\none\ntwo\n--- end of bad\n" in printed
    assert "late" in printed
    assert printed.rstrip().endswith("Failed: bad")


def test_what_is_left_is_named_and_killed_and_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    status, printed = run(tmp_path, f"untidy=sh -c '{DETACHED.format(file=file)}'")
    assert status == 1
    assert "untidy: passed" in printed
    assert "sleep 600" in printed
    assert not is_alive(int(file.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    file, tidied = tmp_path / "pid", tmp_path / "tidied"
    script = f"trap 'touch {tidied}; exit 1' INT; {DETACHED.format(file=file)}; while true; do sleep 0.05; done"
    with started(tmp_path, f'endless=sh -c "{script}"', "other=sleep 600") as process:
        wait_for(lambda: file.exists() and file.read_text().strip(), 30, "the job runs")
        os.kill(process.pid, number)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Interrupted: endless" in printed
    assert tidied.exists()
    assert not is_alive(int(file.read_text()))
