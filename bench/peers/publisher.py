"""A process that publishes to a system: `python -m bench.peers.publisher MODULE` (docs/performance.md).

MODULE of `bench.peers.servers` has `sender()`, which returns a `Sender`. Takes one command a line, JSON:

    {"do": "publish", "to": "user", "of": 500, "count": 1000, "rate": 100}      answers when all have left

`to` is `all`, `user` or `topic`, each in turn where there are several; `rate` 0 is as fast as it goes. `durable` events
may be published so many `together` in one transaction, or to so `many` users in one call.
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

    # notify(to, key or keys, event) publishes a durable one, and transaction() is what several calls may share; where
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
        self, to: str, of: int, count: int, rate: float, durable: bool = False, together: int = 1, many: int = 1
    ) -> dict[str, Any]:
        sender: Any = self._sender
        send = sender.notify if durable else sender.send
        # A sleep costs more than an event at high rates: above 1,000 a second some leave at once, each millisecond.
        step = max(together, many, int(rate // 1_000))
        wall, cpu = array("d"), array("d")
        began = due = time.perf_counter()
        for first in range(0, count, step):
            if rate:
                time.sleep(max(0.0, due - time.perf_counter()))
                due += step / rate
            with sender.transaction() if together > 1 else nullcontext():
                for turn in range(first, min(first + step, count), many):
                    # Users count from 1, topics from 0.
                    keys = [at % of + (to == "user") for at in range(turn, min(turn + many, count))]
                    event = data(self._number)
                    self._number += len(keys)
                    called, used = time.perf_counter(), time.thread_time()
                    send(to, keys if many > 1 else keys[0], event)
                    cpu.append(time.thread_time() - used)
                    wall.append(time.perf_counter() - called)
        self._sender.flush()
        return {
            "secs": time.perf_counter() - began,
            "call_us": 1e6 * statistics.median(wall),
            "call_cpu_us": 1e6 * statistics.median(cpu),
        }


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
