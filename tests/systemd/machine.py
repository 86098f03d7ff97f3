"""A machine of its own: a Debian tree that systemd boots in a container (docs/operations.md)."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ops.services import wait_for

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "run" / "systemd"
# What `ops/install` takes of a checkout.
PARTS = ("apps", "ops", "project", "requirements", "static", "templates")
_BOOT_SECS = 60
_COMMAND_SECS = 300
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


class Machine:
    """Made anew from run/systemd/base. It shares our network, which is one without a way out (`make test-systemd`).

    Attributes:
        tree: its files, as seen from outside.
    """

    def __init__(self) -> None:
        self.tree = FOLDER / "machine"
        shutil.rmtree(self.tree, ignore_errors=True)
        subprocess.run(["cp", "--archive", "--reflink=auto", FOLDER / "base", self.tree], check=True)
        checkout = self.tree / "root" / "checkout"
        for part in PARTS:
            shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "manage.py", checkout)
        with (FOLDER / "console.log").open("wb") as console:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn",
                    "--directory",
                    self.tree,
                    "--boot",
                    "--register=no",
                    "--keep-unit",
                    "--resolv-conf=off",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(self._is_up, _BOOT_SECS, "the machine is up", [FOLDER / "console.log"])
        except BaseException:
            self.stop()
            raise

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the machine's root; `AssertionError` with its output when it fails and `check` is on."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._first_process()), "--all", *command],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECS,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, *command: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self._first_process()), "--all", *command],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def property(self, unit: str, name: str) -> str:
        """What systemd says of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def properties(self, units: Sequence[str], name: str) -> list[str]:
        """The same of several."""
        return [self.property(unit, name) for unit in units]

    def journal(self) -> str:
        """The last lines of everything."""
        return self.run("journalctl", "--no-pager", "--lines", "80", check=False).stdout

    def stop(self) -> None:
        """Switch it off."""
        if self._nspawn.poll() is None:
            # SIGTERM is what nspawn takes for the power switch.
            self._nspawn.terminate()
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()

    def _is_up(self) -> bool:
        if not self._first_process():
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        assert state != "degraded", self.run("systemctl", "--failed").stdout
        return state == "running"

    def _first_process(self) -> int | None:
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None
