"""A private PostgreSQL server (docs/stack.md)."""

import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ops.services import ports, users
from ops.services.binaries import INITDB, POSTGRES, PSQL
from ops.services.process import Process
from ops.services.waiting import wait_for

_SYSTEM_USER = "postgres"
_READY_SECS = 30
_COMMAND_SECS = 60


class Postgres:
    """One server in `folder`, its port on loopback, no unix socket (their paths may be 107 bytes long, ours are any).

    `prepare` makes the data folder; then `start` runs it here (tests) or a supervisor runs `server_command`.
    """

    def __init__(
        self, folder: Path, *, port: int | None = None, user: str = "message_flow", password: str | None = None
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port or ports.free_port()
        self.user = user
        self.password = password or secrets.token_urlsafe(18)
        self._server: Process | None = None

    def prepare(self) -> None:
        """Make the data folder unless it is there, with `user` as its superuser; forget a crash's stale lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            users.give_to(_SYSTEM_USER, self.folder)
            with tempfile.NamedTemporaryFile("w", dir=self.folder) as password_file:
                password_file.write(self.password)
                password_file.flush()
                users.give_to(_SYSTEM_USER, self.folder)
                self._run([
                    *users.as_user(_SYSTEM_USER, self.data), INITDB.path(), "-D", self.data, "-U", self.user, "-E", "UTF8",
                    "--no-locale", "--no-sync", "--auth", "scram-sha-256", "--pwfile", password_file.name,
                ])  # fmt: skip
        self._drop_stale_lock()

    def server_command(self) -> list[str]:
        """Runs the server in the foreground."""
        return [
            *users.as_user(_SYSTEM_USER, self.data), str(POSTGRES.path()), "-D", str(self.data), "-p", str(self.port),
            "-c", f"listen_addresses={ports.LOOPBACK}", "-c", "unix_socket_directories=",
        ]  # fmt: skip

    def start(self) -> None:
        """Start it unless it runs."""
        if self._server is None or not self._server.running:
            self._drop_stale_lock()
            self._server = Process(self.server_command(), self.log, cwd=self.folder)

    def wait_ready(self, deadline_secs: float = _READY_SECS) -> None:
        """Wait until it takes connections."""
        wait_for(lambda: ports.answers(self.port), deadline_secs, f"PostgreSQL answers on port {self.port}", [self.log])

    def stop(self) -> None:
        """Stop it, ending the sessions of its clients."""
        if self._server is not None:
            self._server.stop(by=signal.SIGINT)
            self._server = None

    def kill9(self) -> None:
        """End it as a crash would."""
        if self._server is not None:
            self._server.kill9()
            self._server = None

    @property
    def log(self) -> Path:
        """Its output when it runs here."""
        return self.folder / "postgres.log"

    def url(self, database: str) -> str:
        """The URL of a database for settings."""
        return f"postgres://{self.user}:{self.password}@{ports.LOOPBACK}:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one SQL statement and return its rows, one a line."""
        return self._run(
            [PSQL.path(), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)]
        )

    def createdb(self, name: str, template: str = "template1") -> str:
        """Make a database, a copy of `template`, and return its URL."""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def dropdb(self, name: str) -> None:
        """Delete a database if it is there, ending the sessions in it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _drop_stale_lock(self) -> None:
        """Remove postmaster.pid when no server of this folder holds it.

        The server checks only whether a process with that number lives: after a reboot that is often somebody else.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split()[0])
            held = os.readlink(f"/proc/{pid}/cwd") == str(self.data.resolve())
        except (OSError, ValueError, IndexError):
            held = False
        if not held:
            lock.unlink(missing_ok=True)

    def _run(self, command: Sequence[str | Path]) -> str:
        done = subprocess.run(  # noqa: S603  # our own command lines
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECS,
            cwd="/",
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"PostgreSQL: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
