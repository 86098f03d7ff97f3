"""The units of ops/systemd: systemd understands them, and they give little away."""

import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[3] / "ops" / "systemd"
# Tenths of an exposure level; a bare unit has 92. What stays open: network, unix sockets, the root folder.
EXPOSURE_MAX = 15

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, their programs replaced by some that exist on every machine."""
    for unit in SYSTEMD.iterdir():
        text = unit.read_text().replace("/opt/message-flow/.venv/bin/", f"{tmp_path}/")
        (tmp_path / unit.name).write_text(text)
    for program in ("daphne", "gunicorn", "python"):
        (tmp_path / program).symlink_to("/bin/true")
    return tmp_path


def test_systemd_accepts_every_unit(units: Path) -> None:
    names = [str(unit) for unit in units.glob("message-flow*")]
    assert len(names) == 6
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["message-flow-web", "message-flow-ws@", "message-flow-relay", "message-flow-news"])
def test_a_service_gives_little_away(units: Path, unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    done = subprocess.run([*command, f"{units}/{unit}.service"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
