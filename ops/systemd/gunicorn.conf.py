"""gunicorn under systemd: the master's loop tells the watchdog that it turns (docs/operations.md)."""

from gunicorn.arbiter import Arbiter
from gunicorn.systemd import sd_notify


def when_ready(arbiter: Arbiter) -> None:
    """gunicorn calls this once, before its loop."""
    end_hung_workers = arbiter.murder_workers

    def show_life() -> None:
        end_hung_workers()
        sd_notify("WATCHDOG=1", arbiter.log)

    # The one thing that the loop does in each turn, once a second, and that has no hook.
    arbiter.murder_workers = show_life
