"""Runs commands side by side, their outputs apart, and leaves no process behind (docs/stack.md).

    python -m ops.side_by_side [--at-once N] [--logs FOLDER] NAME=COMMAND ...

Each command writes into FOLDER/NAME.log. Of one that succeeds, its last line is shown; of one that fails,
everything, and the others go on. The end is a failure too when processes are left, which are killed. Linux only.
"""

import argparse
import ctypes
import os
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ops.processes import is_alive

# prctl(2): orphans among our descendants become children of ours, so that none can hide.
_PR_SET_CHILD_SUBREAPER = 36
# What a test run needs to stop its servers.
_GRACE_SECS = 30.0
# What has been told to end may need a moment.
_LEFTOVER_SECS = 5.0


@dataclass
class Job:
    """A command, and when it started.

    Attributes:
        log: everything that it prints.
        pid: of its process, which leads a session of its own: a terminal's Ctrl-C reaches us alone.
    """

    name: str
    command: list[str]
    log: Path
    pid: int = 0
    started: float = 0.0

    def start(self) -> None:
        """Start it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self.started = time.monotonic()
        self.pid = os.posix_spawnp(
            self.command[0],
            self.command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )

    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace").rstrip()


class SideBySide:
    """Runs jobs, `at_once` at a time, in their order."""

    def __init__(self, jobs: Sequence[Job], at_once: int) -> None:
        self._waiting = deque(jobs)
        self._running: dict[int, Job] = {}
        self._at_once = at_once
        self._failed: list[str] = []

    def run(self) -> bool:
        """Run all to their ends; whether each succeeded and none left a process."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._at_once:
                    self._start(self._waiting.popleft())
                self._collect()
            left = self._left()
        except KeyboardInterrupt:
            self._interrupt()
            return False
        finally:
            _kill_children()
        if left:
            _say("These processes were left and are killed:\n" + "\n".join(left))
        if self._failed:
            _say(f"Failed: {', '.join(self._failed)}")
        return not (self._failed or left)

    def _start(self, job: Job) -> None:
        job.start()
        self._running[job.pid] = job
        _say(f"{job.name}: started, see {job.log}")

    def _collect(self) -> None:
        """Wait until a child has ended: a job, or an orphan of one, which is nobody's news."""
        pid, status, used = os.wait4(-1, 0)
        job = self._running.pop(pid, None)
        if job is None:
            return
        code = os.waitstatus_to_exitcode(status)
        took = f"{time.monotonic() - job.started:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU"
        output = job.output()
        if code == 0:
            _say(f"{job.name}: passed in {took}: {output.rpartition(chr(10))[2].strip('= ')}")
        else:
            self._failed.append(job.name)
            _say(f"{job.name}: FAILED with {code} in {took}\n{output}\n--- end of {job.name}")

    def _interrupt(self) -> None:
        """Let the jobs stop what they started; a second Ctrl-C, or too long a wait, ends that."""
        _say(f"Interrupted: {', '.join(job.name for job in self._running.values())}")
        end = time.monotonic() + _GRACE_SECS
        with suppress(KeyboardInterrupt):
            for pid in filter(is_alive, self._running):
                os.kill(pid, signal.SIGINT)
            while any(map(is_alive, self._running)) and time.monotonic() < end:
                time.sleep(0.05)

    def _left(self) -> list[str]:
        """Descendants that live on without a job, as their command lines."""
        end = time.monotonic() + _LEFTOVER_SECS
        while True:
            while _children() and os.waitpid(-1, os.WNOHANG)[0]:
                pass
            left = _children()
            if not left or time.monotonic() > end:
                return [_command_line(pid) for pid in left]
            time.sleep(0.05)


def _children() -> list[int]:
    """Our children, those that are dead and not collected among them."""
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]


def _kill_children() -> None:
    """Kill all our descendants: whose parent was killed is our child, too."""
    while children := _children():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(-1, 0)


def _command_line(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return f"{pid} {b' '.join(words).decode(errors='replace')}"


def _say(text: str) -> None:
    print(f"{time.strftime('%T')} {text}", flush=True)


def main() -> None:
    """Run the command line's jobs."""
    parser = argparse.ArgumentParser(prog="python -m ops.side_by_side", description="Run commands side by side.")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--logs", type=Path, default=Path("run/side-by-side"), metavar="FOLDER")
    parser.add_argument("jobs", nargs="+", metavar="NAME=COMMAND")
    arguments = parser.parse_args()
    jobs = []
    for text in arguments.jobs:
        name, _, command = text.partition("=")
        jobs.append(Job(name, shlex.split(command), arguments.logs / f"{name}.log"))
    arguments.logs.mkdir(parents=True, exist_ok=True)
    sys.exit(0 if SideBySide(jobs, arguments.at_once).run() else 1)


if __name__ == "__main__":
    main()
