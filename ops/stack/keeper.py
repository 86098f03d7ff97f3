"""Starts the stack anew when its supervisord is killed (docs/stack.md).

Supervisor keeps this process up, this process keeps supervisor up. On a server systemd does that.
"""

import os
import select
import sys

from ops.stack.layout import SUPERVISORD_PID, Ports


def main() -> None:
    """Sleep until our parent, supervisord, ends; if it was not asked to, become `ops.stack start`."""
    parent = os.getppid()
    if parent == 1:
        return
    select.select([os.pidfd_open(parent)], [], [])
    ports = Ports.load()
    # An orderly end removes the file.
    if ports is None or not SUPERVISORD_PID.exists():
        return
    command = [sys.executable, "-m", "ops.stack", "start", "--port", str(ports.http), "--log", "keeper.log"]
    os.execv(sys.executable, command)  # noqa: S606  # no shell is meant


if __name__ == "__main__":
    main()
