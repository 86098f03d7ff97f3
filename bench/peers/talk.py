"""A child process that is told lines of JSON and answers each with one (docs/performance.md)."""

import json
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Talker:
    """The parent's end."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._child = subprocess.Popen(  # noqa: S603  # our own command line
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(env),
                cwd=cwd,
                text=True,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def tell(self, **command: Any) -> None:
        """Give an order."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(command) + "\n")
        self._child.stdin.flush()

    def answer(self, deadline_secs: float) -> dict[str, Any]:
        """The answer to the oldest order that has none yet."""
        assert self._child.stdout is not None
        if not select.select([self._child.stdout], [], [], deadline_secs)[0]:
            raise TimeoutError(f"no answer within {deadline_secs:g} s, see {self._log}")
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"it has ended:\n{self._log.read_text(errors='replace')[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, deadline_secs: float = 60.0, /, **command: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self.tell(**command)
        return self.answer(deadline_secs)

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
