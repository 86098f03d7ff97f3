"""Statements in processes of their own, as `manage.py shell -c` runs them (docs/stack.md)."""

import json
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

# Django is set up once, which takes a second; each program is a fork of that: it begins with no connection and no
# thread, and ends as every process does, with its exit handlers.
_SERVER = """
import json, os, sys
import django
django.setup()
import apps.realtime.brokers.choice, apps.realtime.publishing.notify, apps.realtime.publishing.process
for line in sys.stdin:
    program, *outputs = json.loads(line)
    pid = os.fork()
    if pid == 0:
        for number, output in enumerate(outputs, 1):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forks:
    """Runs one program after the other in an environment; `folder` is for what they print."""

    def __init__(self, python: Path, env: Mapping[str, str], cwd: Path, folder: Path) -> None:
        self._command = [str(python), "-c", _SERVER]
        self._env = env
        self._cwd = cwd
        self._outputs = [folder / "shell.out", folder / "shell.err"]
        self._server: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    def run(self, program: str, timeout_secs: float) -> str:
        """Run a program to its end; its output. Raises with all it said when it fails or takes too long."""
        with self._one_at_a_time:
            for output in self._outputs:
                output.write_text("")
            status = self._status(json.dumps([program, *map(str, self._outputs)]), timeout_secs)
            said, complaints = (output.read_text() for output in self._outputs)
        assert status == "0", f"{status}: {program}\n{said}{complaints}"
        return said

    def close(self) -> None:
        """End it, and whatever program runs."""
        if self._server is not None:
            with self._server:
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server = None

    def _status(self, order: str, timeout_secs: float) -> str:
        if self._server is None:
            self._server = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(order.encode() + b"\n")
        self._server.stdin.flush()
        if select.select([self._server.stdout], [], [], timeout_secs)[0]:
            return self._server.stdout.readline().decode().strip()
        # Whoever asks next would get the answer to this.
        self.close()
        return f"more than {timeout_secs:g} s"
