"""How events come into a floor: lines over TCP, where a system has its broker (docs/performance.md).

A line is `all 0 {…}` or `user 17 {…}`.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable

Deliver = Callable[[str, str, str], None]


def port() -> int:
    """Where the floor listens."""
    return int(os.environ["FEED_PORT"])


class Sender:
    """Writes the lines."""

    def __init__(self) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port()))

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """One line."""
        self._sock.sendall(f"{to} {key} {json.dumps(event, separators=(',', ':'))}\n".encode())

    def flush(self) -> None:
        """Nothing waits here."""


def sender() -> Sender:
    """For the publisher; the floor may open its port with its first socket only."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return Sender()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


async def serve(deliver: Deliver) -> None:
    """Hand every line to `deliver`."""

    async def read(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            to, key, text = line.decode().rstrip("\n").split(" ", 2)
            deliver(to, key, text)

    await asyncio.start_server(read, "127.0.0.1", port())
