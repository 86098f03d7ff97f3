"""The site on real parts: its settings, its commands, its nodes (docs/stack.md)."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ops.services import Process, free_port, wait_for
from ops.stack.control import is_ready
from tests.services.rigs.forks import Forks
from tests.services.rigs.people import Person

ROOT = Path(__file__).parent.parent.parent.parent
BIN = Path(sys.prefix) / "bin"

PASSWORD = "password-of-the-tests"
# In the tests' own process these are the same (tests/settings.py): it may sign tokens for the nodes.
SECRETS = {
    "SECRET_KEY": "django-key-of-the-tests-" + "x" * 40,
    "REALTIME_SECRET": "token-key-of-the-tests-" + "x" * 40,
}
# Three on an idle machine; the tests of one run may have several processes starting at once.
_READY_SECS = 60
_COMMAND_SECS = 60


def daphne_command(port: int) -> str:
    """A node as production runs it, on a port of its own."""
    command = re.search(
        r"^command=\$\{BIN\}(/daphne .*) -p \$\{NODE_1_PORT\} (.*)$",
        (ROOT / "ops/supervisor/supervisord.conf").read_text(),
        re.MULTILINE,
    )
    assert command is not None
    return f"{BIN}{command[1]} -p {port} {command[2]}"


class Node:
    """One `daphne` process on a loopback port of its own."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port

    @property
    def http(self) -> str:
        """The base URL of its pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket(self) -> str:
        """The URL of its socket."""
        return f"ws://127.0.0.1:{self.port}/websocket"

    @property
    def is_ready(self) -> bool:
        """Whether its /readyz answers 200."""
        return is_ready(self.port)

    def wait_ready(self, deadline_secs: float = _READY_SECS) -> None:
        """Wait for a 200 from /readyz."""
        wait_for(
            lambda: self.is_ready or self._must_run(),
            deadline_secs,
            f"the node on port {self.port} is ready",
            [self.process.log],
        )

    def wait_unready(self, deadline_secs: float = _READY_SECS) -> None:
        """Wait until /readyz says something other than 200."""
        wait_for(lambda: not self.is_ready, deadline_secs, "the node is not ready", [self.process.log])

    def kill9(self) -> None:
        """End it as a crash would."""
        self.process.kill9()

    def stop(self) -> int:
        """SIGTERM, as for a deployment; the exit status."""
        return self.process.stop(deadline_secs=20)

    def person(self, name: str, password: str = PASSWORD) -> Person:
        """Somebody who signed in through this node."""
        return Person.signed_in(self.http, name, password)

    def _must_run(self) -> bool:
        if not self.process.running:
            raise AssertionError(f"the node ended:\n{self.process.tail()}")
        return False


class Site:
    """One broker address, one database, and any number of processes on them.

    Every process gets `env` and nothing of the tests' own settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self._forks: Forks | None = None
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.env = {
            **inherited,
            **SECRETS,
            "DEMO": "1",
            "DEBUG": "0",
            "HTTPS": "0",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "DEMO_PASSWORD": PASSWORD,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            **settings,
        }

    def manage(self, *arguments: str, env: Mapping[str, str] | None = None, timeout_secs: float = _COMMAND_SECS) -> str:
        """Run a command of manage.py in a process of its own; its output. Raises with it when it fails."""
        done = subprocess.run(
            [str(BIN / "python"), str(ROOT / "manage.py"), *arguments],
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_secs,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, program: str, timeout_secs: float = _COMMAND_SECS) -> str:
        """Run statements as `manage.py shell` does, with the settings of the first call; their output."""
        if self._forks is None:
            self._forks = Forks(BIN / "python", self.env, ROOT, self.folder)
        return self._forks.run(program, timeout_secs)

    def start_node(self, env: Mapping[str, str] | None = None) -> Node:
        """Start one more node, `env` above the site's; don't wait for it."""
        port = free_port()
        daphne = daphne_command(port)
        log = self.folder / f"node-{len(self.nodes) + 1}.log"
        node = Node(Process(daphne.split(), log, env={**self.env, **(env or {})}, cwd=ROOT), port)
        self.nodes.append(node)
        return node

    def node(self, env: Mapping[str, str] | None = None) -> Node:
        """Start one more node and wait until it is ready."""
        node = self.start_node(env)
        node.wait_ready()
        return node

    def close(self) -> None:
        """Stop every node that still runs, and the shell."""
        if self._forks is not None:
            self._forks.close()
        for node in self.nodes:
            if node.process.running:
                node.process.kill9()

    def logs(self) -> str:
        """Everything that the nodes have said."""
        return "".join(
            f"--- {log.name}\n{log.read_text(errors='replace')}" for log in sorted(self.folder.glob("*.log"))
        )
