"""A web process that notifies, as far as the broker and the database can tell (docs/chaos.md).

Started as `python -m tests.chaos.web NAME LOG PK…`; its standard input takes orders, one JSON object a line:
`{"row": "…", "rate": 50, "bulk": 1}` publishes from now on, `{"stop": true}` ends that, `{"burst": 20, "row": "…"}`
publishes so many at once; `"to": PK` to one user alone, and `"bytes": 100000` makes them large. Each order is answered
with one line when it is carried out.

Whatever a call said is written to LOG before the next one: what the site believes to be committed.
"""

import json
import os
import queue
import sys
import threading
import time
from itertools import count
from typing import Any

import django

TOPIC = "news"
ID = "chaos/EVENT"
# A burst commits once in so many calls, so that a process dies with some committed and some not.
_PER_TRANSACTION = 5


class Web:
    """Calls `notify` for users in turn, now and then for several, for a topic and for everybody."""

    def __init__(self, name: str, log: str, users: list[str]) -> None:
        self._name = name
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._users = users
        self._numbers = count(1)

    def publish(self, row: str, bulk: int = 1, everyone: bool = False) -> None:
        """One call, logged before and after."""
        from apps.realtime import EVERYONE, Topic, notify

        n = next(self._numbers)
        to: Any
        if bulk > 1:
            first = n * bulk % len(self._users)
            to = (self._users + self._users)[first : first + bulk]
        elif everyone or n % 50 == 0:
            to = EVERYONE
        elif n % 50 == 25:
            to = Topic(TOPIC)
        elif n % 10 == 3:
            to = [self._user(n + 1), self._user(n)]
        else:
            to = self._user(n)
        self._write(["try", n])
        try:
            notify(to, ID, {"row": row, "by": self._name, "n": n})
        except Exception as error:
            # What a request does that fails: it lets go of its connection, and the next one begins anew.
            self._write(["failed", n, time.time(), repr(error)])
            django.db.close_old_connections()
            time.sleep(0.01)
        else:
            self._write(["done", n, time.time(), len(to) if isinstance(to, list) else 1])

    def burst(self, row: str, calls: int, to: str = "", size: int = 0) -> None:
        """Several transactions of several calls, one right after the other."""
        from django.db import transaction

        from apps.realtime import notify

        for _ in range(0, calls, _PER_TRANSACTION):
            numbers = [next(self._numbers) for _ in range(_PER_TRANSACTION)]
            with transaction.atomic():
                for n in numbers:
                    self._write(["try", n])
                    notify(to or self._user(n), ID, {"row": row, "by": self._name, "n": n, "text": "x" * size})
            for n in numbers:
                self._write(["done", n, time.time(), 1])
        # The next burst may be minutes away, and the database another one.
        django.db.connections.close_all()

    def _user(self, n: int) -> str:
        # One further in each round: the numbers that go to somebody else would always fall on the same users.
        return self._users[(n + n // len(self._users)) % len(self._users)]

    def _write(self, line: list[Any]) -> None:
        # Unbuffered: it outlives a SIGKILL.
        os.write(self._log, json.dumps(line).encode() + b"\n")


def main(name: str, log: str, users: list[str]) -> None:
    """Carry out orders until there are no more."""
    web = Web(name, log, users)
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(json.loads(line))
        orders.put(None)

    threading.Thread(target=listen, daemon=True).start()
    order: dict[str, Any] = {}
    due = time.monotonic()
    print("ready", flush=True)
    while True:
        try:
            new = orders.get(block="rate" not in order)
        except queue.Empty:
            web.publish(order["row"], order.get("bulk", 1), order.get("everyone", False))
            # Where a call took too long the next ones follow at once, as requests do that piled up; for one second.
            due = max(due + 1 / order["rate"], time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
            continue
        if new is None:
            return
        if "burst" in new:
            web.burst(new["row"], new["burst"], new.get("to", ""), new.get("bytes", 0))
        else:
            order = new
            due = time.monotonic()
        print("done", flush=True)


if __name__ == "__main__":
    django.setup()
    if stage := os.environ.get("CHAOS_DIE_AT"):
        from tests.chaos.traps import set_trap

        set_trap(stage)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
