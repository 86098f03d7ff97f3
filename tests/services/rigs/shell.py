"""A process of the site beside its nodes, as an operator's shell or a worker is (docs/stack.md)."""

import json
import subprocess
import sys
from types import TracebackType
from typing import Final, Self

from tests.services.rigs.site import ROOT, Site

_LOOP: Final = """
import json, sys, traceback
import django
django.setup()
scope = {}
for line in sys.stdin:
    error = ""
    try:
        exec(json.loads(line), scope)
    except Exception:
        error = traceback.format_exc()
    print(json.dumps(error), flush=True)
"""


class Shell:
    """Runs statements one after the other in a Django process of its own; names last."""

    def __init__(self, site: Site) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            cwd=ROOT,
            env=site.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> None:
        """Run the code and return when it has run; `AssertionError` with the traceback when it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the shell has ended"
        error = json.loads(answer)
        assert not error, error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=20)
