"""Stands in for systemd: hears what a process tells the service manager."""

import os
import socket
from pathlib import Path


class Manager:
    """Listens where NOTIFY_SOCKET points."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)

    def environment(self, *, watchdog_secs: float | None = None, pid: int | None = None) -> dict[str, str]:
        """What a process of a unit with this WatchdogSec finds in its environment."""
        found = {"NOTIFY_SOCKET": self._path}
        if watchdog_secs is not None:
            found["WATCHDOG_USEC"] = str(int(watchdog_secs * 1_000_000))
            found["WATCHDOG_PID"] = str(os.getpid() if pid is None else pid)
        return found

    def told(self, within_secs: float = 0) -> str | None:
        """The oldest datagram that was not taken yet, None when none comes in that time."""
        self._socket.settimeout(within_secs)
        try:
            return self._socket.recv(1_000).decode()
        except (TimeoutError, BlockingIOError):
            return None

    def everything(self) -> list[str]:
        """All that has arrived since the last call."""
        told = []
        while (state := self.told()) is not None:
            told.append(state)
        return told

    def close(self) -> None:
        """Nobody listens there any more."""
        self._socket.close()
