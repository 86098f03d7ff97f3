"""`realtime relay`: the relay as a program of its own (docs/relay.md)."""

import signal
import threading
from collections.abc import Callable
from typing import Any, Final

from django.core.management.base import CommandError
from prometheus_client import start_http_server

from ..brokers.rabbitmq.topology import redacted
from ..conf import realtime_settings
from ..publishing.process import publishing_process
from ..publishing.relay import Relay
from ..systemd import Systemd

ONCE_SECS: Final = 60.0


def relay(write: Callable[[str], object], *, once: bool = False, metrics_port: int | None = None) -> None:
    """Run until SIGTERM or Ctrl-C, or with `once` until nothing is left to do.

    Raises:
        CommandError: with `once`, something is left; or the port for metrics is taken.
    """
    conf = realtime_settings()
    systemd = Systemd()
    relay = Relay(conf, publishing_process().publisher, alive=systemd.alive)
    if metrics_port is not None:
        try:
            start_http_server(metrics_port, addr="127.0.0.1")
        except OSError as error:
            raise CommandError(f"--metrics-port {metrics_port}: {error.strerror or error}") from error

    def stop(*_: Any) -> None:
        relay.stop()

    # Only the main thread may have handlers.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
    broker = " or ".join(map(redacted, conf.amqp_urls)) or "the in-process broker of a server on this machine"
    write(f"relay: from database {conf.database!r} to {broker}")
    systemd.ready()
    if not once:
        relay.run()
    elif problem := relay.run_once(ONCE_SECS):
        raise CommandError(f"something is left to do: {problem}")
