"""A process that publishes to a system: `python -m bench.peers.publisher MODULE` (docs/performance.md).

MODULE of `bench.peers.servers` has `sender()`, which returns a `Sender`. Takes one command a line, JSON:

    {"do": "publish", "to": "user", "of": 500, "count": 1000, "rate": 100}      answers when all have left

`to` is `all`, `user` or `topic`, each in turn where there are several; `rate` 0 is as fast as it goes. `durable` events
may be published so many `together` in one transaction.
"""

import json
import statistics
import sys
import time
from array import array
from contextlib import nullcontext
from importlib import import_module
from typing import Any, Protocol, TextIO

from bench.peers.events import data


class Sender(Protocol):
    """How a process beside the server publishes."""

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """Publish one event to all, to the user `key` or to the topic `bench-KEY`."""

    # notify(to, key, event) publishes a durable one, and transaction() is what several calls may share; where
    # the system knows such a thing.

    def flush(self) -> None:
        """Return when everything has left this process."""


class Publisher:
    """Numbers all events of its life in one sequence."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._number = 0

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a command says; the answer."""
        do = command.pop("do")
        if do == "publish":
            return self._publish(**command)
        # A sender may know more.
        answer: dict[str, Any] = getattr(self._sender, do)(**command)
        return answer

    def _publish(
        self, to: str, of: int, count: int, rate: float, durable: bool = False, together: int = 1
    ) -> dict[str, Any]:
        sender: Any = self._sender
        send = sender.notify if durable else sender.send
        calls = array("d")
        began = due = time.perf_counter()
        for first in range(0, count, together):
            if rate:
                time.sleep(max(0.0, due - time.perf_counter()))
                due += together / rate
            with sender.transaction() if together > 1 else nullcontext():
                for turn in range(first, min(first + together, count)):
                    event = data(self._number)
                    self._number += 1
                    called = time.perf_counter()
                    # Users count from 1, topics from 0.
                    send(to, turn % of + (to == "user"), event)
                    calls.append(time.perf_counter() - called)
        self._sender.flush()
        return {"secs": time.perf_counter() - began, "call_us": 1e6 * statistics.median(calls)}


def serve(sender: Sender, commands: TextIO, answers: TextIO) -> None:
    """Obey until there are no more commands."""
    publisher = Publisher(sender)
    for line in commands:
        print(json.dumps(publisher.obey(json.loads(line))), file=answers, flush=True)


def main() -> None:
    """Run."""
    sender: Sender = import_module(f"bench.peers.servers.{sys.argv[1]}").sender()
    serve(sender, sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
