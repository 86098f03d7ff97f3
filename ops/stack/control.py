"""Starting and ending the stack (docs/stack.md)."""

import fcntl
import http.client
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import processes
from ops.services import DeadlineError, is_free, wait_for
from ops.stack import files, layout
from ops.stack.layout import LOG, MARKER, ROOT, RUN, Ports, StackError

# A cold start takes about 15 s on two idle cores; a machine that is busy with tests needs several times that.
_READY_SECS = 120
# Longer than the longest stopwaitsecs of ops/supervisor, one program after the other.
_STOP_SECS = 75
_CHILDREN = ("nginx", "postgres")


@contextmanager
def locked() -> Iterator[None]:
    """One start or stop at a time; the others wait."""
    RUN.mkdir(exist_ok=True)
    with (RUN / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start(port: int) -> tuple[Ports, bool]:
    """Start the stack on the loopback `port` and wait until it is ready.

    Returns its ports and whether it was running already. Raises `StackError`.
    """
    layout.check_paths()
    if supervisord() is not None:
        ports = Ports.load()
        if ports is None:
            raise StackError(f"The stack runs without {RUN}/stack.json: make stack-stop first")
        wait_ready(ports)
        return ports, True
    _end_leftovers()
    if not is_free(port):
        raise StackError(f"Port {port} is in use. Try: make stack PORT={port + 1}")
    LOG.mkdir(exist_ok=True)
    ports = Ports.choose(port)
    settings = layout.settings(ports, os.environ)
    layout.write_settings(settings)
    postgres, rabbitmq = layout.postgres(ports), layout.rabbitmq(ports)
    postgres.prepare()
    rabbitmq.prepare()
    files.write(ports)
    environment = {**os.environ, **settings, MARKER: str(RUN)}
    _manage("collectstatic", environment, "--no-input", "--verbosity=0")
    _run([files.BIN / "supervisord", "-c", layout.SUPERVISORD_CONF], environment)
    _wait(postgres.is_ready, "PostgreSQL answers", "postgres")
    if not postgres.sql(f"SELECT 1 FROM pg_database WHERE datname = '{layout.DATABASE}'").strip():  # noqa: S608
        postgres.createdb(layout.DATABASE)
    _manage("migrate", environment, "--no-input", "--verbosity=0")
    _manage("demo_users", environment)
    wait_ready(ports)
    return ports, False


def stop() -> bool:
    """End the stack, whatever is left of it. Returns whether there was anything to end."""
    pid = supervisord()
    if pid is not None:
        processes.end([pid], _STOP_SECS)
    leftovers = _end_leftovers()
    return pid is not None or leftovers


def supervisord() -> int | None:
    """The process id of this stack's running supervisord."""
    try:
        pid = int(layout.SUPERVISORD_PID.read_text())
    except (OSError, ValueError):
        return None
    return pid if pid in processes.with_variable(MARKER, str(RUN)) else None


def wait_ready(ports: Ports) -> None:
    """Wait until /readyz answers 200 through nginx and from each node."""
    _wait(lambda: is_ready(ports.node_1), "the first node is ready", "ws-1")
    _wait(lambda: is_ready(ports.node_2), "the second node is ready", "ws-2")
    _wait(lambda: is_ready(ports.http), "the web process is ready behind nginx", "web", "nginx", "nginx-error")


def is_ready(port: int) -> bool:
    """Whether /readyz on the loopback `port` answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_leftovers() -> bool:
    """End every process of this stack that is not ourselves, and remove what their crash left in the way."""
    found = processes.with_variable(MARKER, str(RUN)) | processes.working_below(RUN, _CHILDREN)
    # The keeper becomes `start`, and a shell may have been opened by one of the stack's own processes.
    found -= _ourselves()
    processes.end(found, grace_secs=10)
    for path in (layout.SUPERVISORD_PID, RUN / "supervisor.sock", layout.WEB_SOCKET):
        path.unlink(missing_ok=True)
    return bool(found)


def _ourselves() -> set[int]:
    """This process and its ancestors."""
    pids, pid = set(), os.getpid()
    while pid > 1:
        pids.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pids


def _wait(condition: Callable[[], bool], what: str, *logs: str) -> None:
    try:
        wait_for(condition, _READY_SECS, what, [LOG / f"{name}.log" for name in logs], poll_secs=0.2)
    except DeadlineError as error:
        raise StackError(f"{error}\nThe stack is left as it is for a look; make stack-stop ends it.") from error


def _manage(command: str, environment: dict[str, str], *arguments: str) -> None:
    """Run a command of manage.py; what it complains of goes into log/start.log."""
    _run([files.BIN / "python", ROOT / "manage.py", command, *arguments], environment)


def _run(command: list[str | Path], environment: dict[str, str]) -> None:
    words = [str(word) for word in command]
    log = LOG / "start.log"
    with log.open("a") as output:
        output.write(f"{time.strftime('%F %T')} {' '.join(words)}\n")
        output.flush()
        done = subprocess.run(  # noqa: S603  # our own command lines
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            check=False,
        )
    if done.returncode != 0:
        raise StackError(f"`{' '.join(words[:3])}` failed, see {log}")
