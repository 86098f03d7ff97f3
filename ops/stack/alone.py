"""Starts a server of the stack after ending what an earlier run of it left behind (docs/stack.md).

    python -m ops.stack.alone PROGRAM FOLDER COMMAND…

Execs COMMAND in FOLDER once no process called PROGRAM works there.
"""

import os
import sys
from pathlib import Path

from ops import processes


def main(program: str, folder: Path, command: list[str]) -> None:
    """End the leftovers of `program` in `folder`, become `command`."""
    # Not their own orderly end: a worker would wait for its open sockets.
    processes.end(processes.working_below(folder, [program]), grace_secs=1)
    os.chdir(folder)
    os.execv(command[0], command)  # noqa: S606  # no shell is meant


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
