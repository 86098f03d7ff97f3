"""Kills the process it is in at one step of an event's way out (docs/chaos.md).

The steps are found by what every implementation has to do, by its statements and its calls of pika, and not by names of
the product's code: nothing in the product knows of this.
"""

import os
import re
import signal
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

# In the order of an event's way. A process dies right after the step.
STAGES = ("insert", "commit", "number", "commit-number", "publish", "confirm", "mark")

_INSERT = re.compile(r'INSERT INTO "?message_flow_storedevent', re.IGNORECASE)
_NUMBER = re.compile(r'UPDATE "?message_flow_storedevent"?\b.*?\bSET\b.*?"?seq"?\s*=', re.IGNORECASE | re.DOTALL)
_MARK = re.compile(r'UPDATE "?message_flow_storedevent"?\b.*?"?confirmed_at"?\s*=', re.IGNORECASE | re.DOTALL)
# Steps that come once an event or once a request: the process dies at a later one, so that some are through.
_AT = {"insert": 12, "commit": 3, "publish": 5}

_seen = threading.local()


def set_trap(stage: str) -> None:
    """Die at `stage` from now on."""
    if stage in ("publish", "confirm"):
        _trap_pika(stage)
    else:
        _trap_database(stage)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _trap_database(stage: str) -> None:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.signals import connection_created

    reached = count(1)

    def reach(step: str) -> None:
        if step == stage and next(reached) == _AT.get(stage, 1):
            _die()

    def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        for step, pattern in (("insert", _INSERT), ("mark", _MARK), ("number", _NUMBER)):
            if pattern.match(sql.strip()):
                _seen.step = step
                reach(step)
                break
        return result

    def connected(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        connection.execute_wrappers.append(watch)

    connection_created.connect(connected, weak=False)
    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

    def committed(self: BaseDatabaseWrapper) -> None:
        commit(self)
        step, _seen.step = getattr(_seen, "step", None), None
        if step in ("insert", "number"):
            reach("commit" if step == "insert" else "commit-number")

    BaseDatabaseWrapper._commit = committed  # type: ignore[attr-defined]


def _trap_pika(stage: str) -> None:
    from pika.channel import Channel

    publish, confirm_delivery = Channel.basic_publish, Channel.confirm_delivery
    published = count(1)

    def publishing(self: Channel, *args: Any, **kwargs: Any) -> None:
        publish(self, *args, **kwargs)
        if next(published) == _AT["publish"]:
            _die()

    def confirming(self: Channel, ack_nack_callback: Callable[..., None], callback: Any = None) -> None:
        confirm_delivery(self, lambda frame: _die(), callback)

    if stage == "publish":
        Channel.basic_publish = publishing  # type: ignore[method-assign]
    else:
        Channel.confirm_delivery = confirming  # type: ignore[method-assign,assignment]
