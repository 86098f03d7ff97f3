"""A private PostgreSQL server (docs/stack.md)."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops import processes
from ops.services import ports, users
from ops.services.binaries import INITDB, POSTGRES, PSQL
from ops.services.process import Process
from ops.services.waiting import wait_for

_SYSTEM_USER = "postgres"
_READY_SECS = 30
_COMMAND_SECS = 60


class Postgres:
    """One server in `folder`, its port on loopback.

    No unix socket: their paths may have 107 bytes, ours have any length.
    `prepare` makes the data folder; then `start` runs it here (tests) or a supervisor runs `server_command`. Without
    `fsync` a crash of the server still loses nothing, one of the machine would.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        user: str = "message_flow",
        password: str | None = None,
        fsync: bool = True,
    ) -> None:
        self.folder = folder
        self.fsync = fsync
        self.data = folder / "data"
        self.port = port or ports.free_port()
        self.user = user
        self.password = password or secrets.token_urlsafe(18)
        self._server: Process | None = None

    def prepare(self) -> None:
        """Make the data folder unless it is there, `user` its superuser; forget a crash's stale lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.data.exists():
            self._initdb()
        self._drop_stale_lock()

    def server_command(self) -> list[str]:
        """Runs the server in the foreground."""
        options = {"listen_addresses": ports.LOOPBACK, "port": self.port, "unix_socket_directories": ""}
        if not self.fsync:
            options["fsync"] = "off"
        return [
            *users.as_user(_SYSTEM_USER, self.data),
            *("/usr/bin/env", "-i", "LANG=C.UTF-8", str(POSTGRES.path()), "-D", str(self.data)),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ]

    def start(self) -> None:
        """Start it unless it runs."""
        if self._server is None or not self._server.running:
            self._drop_stale_lock()
            self._server = Process(self.server_command(), self.log, cwd=self.folder)

    def wait_ready(self, deadline_secs: float = _READY_SECS) -> None:
        """Wait until it runs statements."""
        wait_for(self.is_ready, deadline_secs, f"PostgreSQL answers on port {self.port}", [self.log])

    def is_ready(self) -> bool:
        """Whether it runs statements."""
        try:
            return ports.answers(self.port) and self.sql("SELECT 1").strip() == "1"
        except RuntimeError:
            return False  # It accepts connections before it is ready for them.

    def stop(self) -> None:
        """Stop it, ending the sessions of its clients."""
        if self._server is not None:
            self._server.stop(by=signal.SIGINT)
            self._server = None

    def kill9(self) -> None:
        """End it as a crash would, and its children: while one lives, a new server refuses to start."""
        if self._server is not None:
            self._server.kill9()
            self._server = None
            wait_for(lambda: not processes.working_below(self.data, ["postgres"]), 10, "PostgreSQL's children end")

    @property
    def log(self) -> Path:
        """Its output when it runs here."""
        return self.folder / "postgres.log"

    def url(self, database: str) -> str:
        """The URL of a database for settings."""
        return f"postgres://{self.user}:{self.password}@{ports.LOOPBACK}:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one SQL statement and return its rows, one a line."""
        connection = f"-h {ports.LOOPBACK} -p {self.port} -U {self.user} -d {database}"
        psql = f"{PSQL.path()} -X -q -t -A -v ON_ERROR_STOP=1 {connection} -c"
        return self._run([*psql.split(), statement], {**os.environ, "PGPASSWORD": self.password})

    def createdb(self, name: str, template: str = "template1") -> str:
        """Make a database, a copy of `template`, and return its URL."""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        # A sequence logs its values ahead, and the copy counts on what the original logged: after a crash before the
        # next checkpoint it would give the same values again (seen: "Key (id)=(4) already exists").
        self.sql("CHECKPOINT")
        return self.url(name)

    def dropdb(self, name: str) -> None:
        """Delete a database if it is there, ending the sessions in it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _initdb(self) -> None:
        """Make the data folder, whole or not at all."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder) as password_file:
            password_file.write(self.password)
            password_file.flush()
            users.give_to(_SYSTEM_USER, self.folder)
            options = f"-U {self.user} -E UTF8 --no-locale --auth scram-sha-256 --pwfile"
            initdb = [str(INITDB.path()), "-D", str(unfinished), *options.split(), password_file.name]
            self._run([*users.as_user(_SYSTEM_USER, self.data), *initdb])
        unfinished.rename(self.data)

    def _drop_stale_lock(self) -> None:
        """Remove postmaster.pid when no server of this folder holds it.

        The server checks only whether a process with that number lives: after a reboot that is often
        somebody else.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split()[0])
            held = pid in processes.working_below(self.data, ["postgres"])
        except (OSError, ValueError, IndexError):
            held = False
        if not held:
            lock.unlink(missing_ok=True)

    def _run(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(  # noqa: S603  # our own command lines
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECS,
            env=env,
            cwd="/",
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"PostgreSQL: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
