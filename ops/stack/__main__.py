"""`python -m ops.stack start|stop`: what `make stack` and `make stack-stop` run (docs/stack.md)."""

import argparse
import os
import sys
from pathlib import Path

from ops.services import MissingProgramError
from ops.stack import control, layout
from ops.stack.layout import Ports, StackError

_RUNNING = """
Message Flow {state} at http://127.0.0.1:{port}/

  Sign in as alice (staff), bob or carol, password {password}
  Notify alice from another shell:
      . run/stack.env
      {bin}/python manage.py realtime notify --user alice --id 'EXAMPLE ID' --data '{{"n": 1}}'
  Look at the broker:    run/rabbitmqctl list_queues name consumers messages
  See what runs:         {bin}/supervisorctl -c run/supervisord.conf status
  Kill any of it -9: it comes back, and the open page with it.

  Logs: log/   State and data: run/   End: make stack-stop
"""


def main(arguments: list[str]) -> int:
    """Start or stop the stack of this checkout; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ops.stack", description="The whole product on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start it, or wait until the one that runs is ready")
    start.add_argument("--port", type=int, default=8080, help="where nginx listens")
    start.add_argument("--log", help="write to this file of log/ instead of the terminal")
    commands.add_parser("stop", help="end every process of it")
    options = parser.parse_args(arguments)
    try:
        with control.locked():
            if options.command == "stop":
                return _stop()
            if options.log:
                _write_to(options.log)
            return _start(options.port)
    except (StackError, MissingProgramError) as error:
        print(error, file=sys.stderr)
        return 1


def _start(port: int) -> int:
    if control.supervisord() is None:
        print("Starting RabbitMQ, PostgreSQL, nginx, the web process, the relay and two nodes …", flush=True)
    ports, was_running = control.start(port)
    state = "is running already" if was_running else "runs"
    print(_message(ports, state), flush=True)
    return 0


def _message(ports: Ports, state: str) -> str:
    return _RUNNING.format(
        state=state,
        port=ports.http,
        password=layout.read_settings()["DEMO_PASSWORD"],
        bin=_short(Path(sys.prefix) / "bin"),
    )


def _short(path: Path) -> Path:
    return path.relative_to(layout.ROOT) if path.is_relative_to(layout.ROOT) else path


def _stop() -> int:
    print("The stack has ended; its data stay in run/." if control.stop() else "No stack is running here.")
    return 0


def _write_to(name: str) -> None:
    """Send our output to a log file: the one who started us, and the pipe to it, are gone."""
    log = os.open(layout.LOG / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
