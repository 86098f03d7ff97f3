"""One child process with its log (docs/stack.md)."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.services.waiting import tail


class Process:
    """A server that we started: in a process group of its own, its output in a file.

    The log is appended to, so that it tells the story of every start.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: S603  # our own command lines
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; our child keeps it until `stop` or `kill9` has collected it."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._child.send_signal(number)

    def kill9(self) -> None:
        """End it and its whole group with SIGKILL, as a crash would, and collect it."""
        self._kill_group()
        self._child.wait()

    def stop(self, deadline_secs: float = 15, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and collect it; what is left of its group after `deadline_secs` is killed.

        Returns the exit status (negative: the signal that ended it).
        """
        self._child.send_signal(by)
        try:
            return self._child.wait(deadline_secs)
        except subprocess.TimeoutExpired:
            return self._child.wait() if self._kill_group() else self._child.returncode
        finally:
            self._kill_group()

    def tail(self) -> str:
        """The last lines of its log."""
        return tail(self.log)

    def _kill_group(self) -> bool:
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True
