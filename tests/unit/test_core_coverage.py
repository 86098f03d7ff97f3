"""The core is covered by its own tests alone, every line and branch (docs/architecture.md)."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_core_s_own_tests_cover_every_line_and_branch_of_it(tmp_path: Path) -> None:
    # Random lives find mistakes, they prove no coverage: without them the rule-by-rule tests have to reach everything.
    environment = os.environ | {"COVERAGE_FILE": str(tmp_path / "coverage")}
    pytest = ["-m", "pytest", "tests/unit/realtime/core", "-q", "-k", "not Machine", "-p", "no:cacheprovider"]
    _coverage("run", "--branch", "--include=apps/realtime/core/*", *pytest, environment=environment)
    _coverage("report", "--show-missing", "--fail-under=100", environment=environment)


def _coverage(*arguments: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coverage", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
