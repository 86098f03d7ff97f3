"""The units of ops/systemd: systemd understands them, they give little away, and gunicorn shows that it lives."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.systemd import Manager

ROOT = Path(__file__).parents[3]
SYSTEMD = ROOT / "ops" / "systemd"
SERVICES = sorted(unit.name for unit in SYSTEMD.glob("*.service"))
# Tenths of an exposure level; a bare unit has 92. What stays open: network, unix sockets, the root folder.
EXPOSURE_MAX = 15


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, their programs replaced by some that exist on every machine."""
    folder = tmp_path / "units"
    shutil.copytree(SYSTEMD, folder)
    for unit in folder.rglob("message-flow*.*"):
        if unit.is_file():
            unit.write_text(unit.read_text().replace("/opt/message-flow/current/.venv/bin/", f"{tmp_path}/"))
    for program in ("daphne", "gunicorn", "python"):
        (tmp_path / program).symlink_to("/bin/true")
    return folder


def verified(units: Path) -> tuple[int, str]:
    names = [str(unit) for unit in units.glob("message-flow*") if unit.is_file()]
    assert len(names) == 9
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_systemd_accepts_every_unit(units: Path) -> None:
    assert verified(units) == (0, "")


def test_what_the_services_share_is_read_with_each_of_them(units: Path) -> None:
    with (units / "message-flow-.service.d" / "10-common.conf").open("a") as common:
        common.write("Nonsense=yes\n")
    _, said = verified(units)
    assert "10-common.conf" in said
    assert "Nonsense" in said


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_gives_little_away(units: Path, unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    done = subprocess.run([*command, f"{units}/{unit}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_every_server_has_a_watchdog_and_returns_for_ever() -> None:
    servers = [text for name in SERVICES if "Type=notify" in (text := (SYSTEMD / name).read_text())]
    assert len(servers) == 3
    for text in servers:
        assert re.search(r"^WatchdogSec=\d+$", text, re.MULTILINE)
        assert "\nRestart=always\n" in text
        assert "\nStartLimitIntervalSec=0\n" in text


def test_secrets_are_credentials_of_these_names() -> None:
    loaded = {
        name
        for file in SYSTEMD.rglob("*")
        if file.is_file()
        for name in re.findall(r"^LoadCredential=(\w+):", file.read_text(), re.MULTILINE)
    }
    settings = (ROOT / "project/settings.py").read_text()
    assert loaded == set(re.findall(r'secret\("(\w+)"', settings))


def test_gunicorn_takes_the_socket_of_systemd_and_shows_that_its_master_lives(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(
        "def application(environ, start):\n    start('204 No Content', [])\n    return []\n"
    )
    manager = Manager(tmp_path)
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        # As systemd does: the socket is file 3, and the variables name the process that is about to be gunicorn.
        start = f"import os, sys; os.dup2({listening.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        command = ["gunicorn", "--config", str(SYSTEMD / "gunicorn.conf.py"), "--no-control-socket", "page:application"]
        gunicorn = subprocess.Popen(
            [sys.executable, "-c", start + f"os.execv({str(Path(sys.executable).parent / 'gunicorn')!r}, {command!r})"],
            cwd=tmp_path,
            env=os.environ | manager.environment(watchdog_secs=30) | {"LISTEN_FDS": "1"},
            pass_fds=[listening.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            assert (manager.told(30) or "").startswith("READY=1")
            for _ in range(2):
                assert manager.told(30) == "WATCHDOG=1"
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(path)
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert b" 204 " in client.recv(1_000)
            gunicorn.send_signal(signal.SIGSTOP)
            manager.everything()
            assert manager.told(1.5) is None
            gunicorn.send_signal(signal.SIGCONT)
            assert manager.told(30) == "WATCHDOG=1"
        finally:
            gunicorn.send_signal(signal.SIGCONT)
            gunicorn.terminate()
            gunicorn.wait(30)
            manager.close()
    # Whoever comes while gunicorn is away waits in the queue of the socket.
    assert Path(path).exists()
