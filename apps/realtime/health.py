"""What `/healthz` and `/readyz` find out (docs/health.md)."""

import threading
from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.http import HttpRequest

from .conf import realtime_settings

if TYPE_CHECKING:
    from .node.node import Node

# How the node of a process reaches the views that the same process serves.
NODE_SCOPE_KEY: Final = "message_flow.node"
# The whole answer is due within a second.
DATABASE_TIMEOUT_SECS: Final = 0.8


def problems(request: HttpRequest) -> dict[str, str | None]:
    """What keeps this process from doing its work, by dependency; None for each that is fine.

    A web process needs the database and its publisher, a node its listener too.
    """
    config = apps.get_app_config("message_flow")
    process = config.publishing  # type: ignore[attr-defined]
    node: Node | None = getattr(request, "scope", {}).get(NODE_SCOPE_KEY)
    found = {"database": config.database_probe.problem()}  # type: ignore[attr-defined]
    if node is None or process.started:
        process.publisher.start()
        found["broker"] = process.publisher.problem
    if node is not None:
        # The probe's fresh connection may be fine while those that sockets use are dead.
        found["database"] = found["database"] or node.database.problem
        found["listener"] = "going down" if node.draining else node.listener_problem
    return found


class DatabaseProbe:
    """Asks the database for a sign of life in a thread of its own, so that a database that hangs hangs nobody else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Alive while an earlier question is still unanswered.
        self._thread: threading.Thread | None = None
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Why the database cannot be used; None when it can. Takes 0.8 s at most."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._ask, name="message-flow-probe", daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(DATABASE_TIMEOUT_SECS)
        return f"no answer within {DATABASE_TIMEOUT_SECS} s" if thread.is_alive() else self._problem

    def _ask(self) -> None:
        # That of users and sign-ins, and that of durable events.
        aliases = dict.fromkeys((DEFAULT_DB_ALIAS, realtime_settings().database))
        self._problem = next(filter(None, map(_problem_of, aliases)), None)


def _problem_of(alias: str) -> str | None:
    connection = connections[alias]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        # The text may hold the address and the user's name: the log has it, the answer has the kind.
        return type(error).__name__
    finally:
        connection.close()
    return None
