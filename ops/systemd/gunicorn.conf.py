"""gunicorn under systemd: its loop shows that it turns, its workers count together (docs/operations.md)."""

import os
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.systemd import sd_notify
from prometheus_client.multiprocess import mark_process_dead


def when_ready(arbiter: Arbiter) -> None:
    """gunicorn calls this once, before its loop."""
    end_hung_workers = arbiter.murder_workers

    def show_life() -> None:
        end_hung_workers()
        sd_notify("WATCHDOG=1", arbiter.log)

    # The one thing that the loop does in each turn, once a second, and that has no hook.
    arbiter.murder_workers = show_life


def child_exit(arbiter: Arbiter, worker: Any) -> None:
    """What a worker was doing (`live…` in apps/realtime/metrics.py) ends with it; what it has counted stays."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
