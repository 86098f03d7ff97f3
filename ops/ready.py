"""Waits until a process says that it is ready (docs/operations.md).

python3 -m ops.ready HOST 9101                          # a node, by its port on this machine
python3 -m ops.ready HOST /run/message-flow/web.sock    # the web process
"""

import http.client
import socket
import sys
import time
from typing import Final

WITHIN_SECS: Final = 60.0
# What one question may take.
ASK_SECS: Final = 5.0


def problem(host: str, where: str) -> str | None:
    """Why the process at that port or unix socket is not ready; None when it is."""
    address, family = (where, socket.AF_UNIX) if where.startswith("/") else (("127.0.0.1", int(where)), socket.AF_INET)
    try:
        with socket.socket(family) as connected:
            connected.settimeout(ASK_SECS)
            connected.connect(address)
            connection = http.client.HTTPConnection(host)
            connection.sock = connected
            connection.request("GET", "/readyz")
            with connection.getresponse() as answer:
                return None if answer.status == 200 else f"{answer.status} {answer.read(500).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


def wait(host: str, where: str, within_secs: float = WITHIN_SECS) -> str | None:
    """The last problem when there is still one at the end of that time; None as soon as there is none."""
    deadline = time.monotonic() + within_secs
    while (found := problem(host, where)) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} HOST PORT|SOCKET")
    if last := wait(sys.argv[1], sys.argv[2]):
        sys.exit(f"{sys.argv[2]} is not ready after {WITHIN_SECS:.0f} s: {last}")
