"""A clone of this repository with a stack of its own (docs/stack.md)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from ops.processes import is_alive
from ops.services import free_port, wait_for
from ops.stack.control import is_ready
from tests.services.rigs.people import Person

ROOT = Path(__file__).parents[2]
PASSWORD = "password-of-the-stack"

# What the tests' own process has set for itself, or the make that runs it; a person's shell has none of it.
_NOT_INHERITED = """
    ALLOWED_HOSTS AMQP_URL CSRF_TRUSTED_ORIGINS DATABASE_URL DEBUG DEMO DEMO_PASSWORD DJANGO_SETTINGS_MODULE HTTPS
    LOG_LEVEL MAKEFLAGS MAKELEVEL MAKEOVERRIDES MFLAGS PORT PYTHON PYTHONPATH SECRET_KEY STATIC_ROOT VENV
"""
_MAKE_SECS = 180
_READY_SECS = 60


class Checkout:
    """The files that a clone would have, in `folder`, and the make targets that run them.

    The environment is shared with the tests: building it anew takes longer than everything else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.people: list[Person] = []
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    def make(self, target: str, port: int | None = None, env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """`make target` as somebody at a shell; exit status and everything it printed."""
        done = subprocess.run(
            ["make", target, f"VENV={sys.prefix}", f"PYTHON={sys.executable}", f"PORT={port or self.port}"],
            cwd=self.folder,
            env={**self._environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_MAKE_SECS,
            check=False,
        )
        return done.returncode, done.stdout

    def start(self, **env: str) -> str:
        """`make stack`, which must succeed; what it printed."""
        status, printed = self.make("stack", env={"DEMO_PASSWORD": PASSWORD, **env})
        assert status == 0, f"{printed}\n{self._log_ends()}"
        return printed

    def manage(self, *arguments: str) -> str:
        """manage.py with run/stack.env, as the printed instructions say; its output."""
        done = subprocess.run(
            ["bash", "-c", f'set -a; . run/stack.env; exec {sys.prefix}/bin/python manage.py "$@"', "bash", *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def publish(self, name: str, event_id: str) -> None:
        """Send an event to a user from a process of its own."""
        self.manage("realtime", "publish", "--user", name, "--id", event_id, "--data", '{"n": 1}')

    def notify(self, name: str, event_id: str) -> None:
        """The same, stored: it comes to a page that is just connecting again."""
        self.manage("realtime", "notify", "--user", name, "--id", event_id)

    def person(self, name: str) -> Person:
        """Somebody who signed in through nginx; their tokens are remembered."""
        person = Person.signed_in(self.base, name, PASSWORD)
        self.people.append(person)
        return person

    @property
    def base(self) -> str:
        """The URL of the site."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket(self) -> str:
        """The URL of the socket, through nginx."""
        return f"ws://127.0.0.1:{self.port}/websocket"

    @property
    def logs(self) -> list[Path]:
        """Every log file of the stack."""
        return sorted(path for path in (self.folder / "log").rglob("*") if path.is_file())

    def pid(self, program: str) -> int | None:
        """The process id of a supervised program, None while it is down."""
        done = subprocess.run(
            [f"{sys.prefix}/bin/supervisorctl", "-c", "run/supervisord.conf", "pid", program],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        answer = done.stdout.strip()
        return int(answer) if answer.isdecimal() and answer != "0" else None

    def supervisord(self) -> int | None:
        """The process id of supervisord, None while there is none."""
        try:
            pid = int((self.folder / "run" / "supervisord.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if is_alive(pid) else None

    def wait_ready(self) -> None:
        """Wait until everything is up again: both nodes, and the web process through nginx."""
        ports = self.node_ports()
        wait_for(
            lambda: all(map(is_ready, (self.port, *ports))),
            _READY_SECS,
            "the stack is ready",
            [self.folder / "log" / f"{name}.log" for name in ("supervisord", "web", "ws-1", "ws-2", "rabbitmq")],
        )

    def node_ports(self) -> tuple[int, int]:
        """Where the two nodes listen."""
        conf = (self.folder / "run" / "nginx" / "message-flow.conf").read_text()
        first, second = (
            int(line.split(":")[1].split()[0]) for line in conf.splitlines() if "server 127.0.0.1:" in line
        )
        return first, second

    def processes(self) -> dict[int, str]:
        """Everything that runs in this checkout or names it in its command line: pid and command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                inside = Path(os.readlink(entry / "cwd")).is_relative_to(self.folder)
            except OSError:
                continue
            if (inside or str(self.folder) in command) and is_alive(int(entry.name)):
                found[int(entry.name)] = command
        return found

    def _environment(self) -> dict[str, str]:
        return {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_INHERITED.split() and not name.startswith("REALTIME_")
        }

    def _log_ends(self) -> str:
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-2000:]}" for log in self.logs)


def children_of(pid: int | None) -> Collection[int]:
    """The process ids of the direct children of `pid`."""
    if pid is None:
        return []
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
