"""Tells systemd that this process is ready and that it lives (docs/operations.md).

What sd_notify(3) describes: one datagram to the socket that NOTIFY_SOCKET names. Without systemd nothing is said.
"""

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class Systemd:
    """The service manager that has started this process, if one has.

    Attributes:
        ping_secs: how often it wants to hear `alive`; None where it does not wait for it.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # An @ stands for the zero byte of an abstract name.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        waits = environ.get("WATCHDOG_USEC", "").isdecimal() and environ.get("WATCHDOG_PID") == str(os.getpid())
        # sd_watchdog_enabled(3) asks for half of the time; with a third, one datagram may be late.
        self.ping_secs = int(environ["WATCHDOG_USEC"]) / 3_000_000 if name and waits else None

    def ready(self) -> None:
        """The process serves from now on."""
        self._tell(b"READY=1")

    def alive(self) -> None:
        """The loop that does the work still turns. Never waits and never raises."""
        if self.ping_secs is not None:
            self._tell(b"WATCHDOG=1")

    def _tell(self, state: bytes) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(state, socket.MSG_DONTWAIT, self._address)
        except OSError:
            logger.debug("systemd was not told %s", state, exc_info=True)
