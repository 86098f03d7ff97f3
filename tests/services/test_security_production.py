"""What production refuses to start with (docs/security.md, docs/operations.md)."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
GOOD: Final = {
    "DEMO": "0",
    "DEBUG": "0",
    "SECRET_KEY": "secret-one-" + "a" * 40,
    "REALTIME_SECRET": "0J7r-Xq9wLrUe2ZcVbn5tYh8KsDf3GaPoIxMvB1QyE6TuWjRkN4",
    "ALLOWED_HOSTS": "site.example",
    "DATABASE_URL": "postgres://site:secret-database@database.example/site",
    "AMQP_URL": "amqps://site:secret-amqp@broker.example/site",
}
SHORT: Final = "secret-short"
DEVELOPMENT: Final = "development-only-" + "x" * 48

# The first word is the setting that the refusal names.
REFUSED: Final = {
    "DEBUG is on": {"DEBUG": "1"},
    "SECRET_KEY is missing": {"SECRET_KEY": ""},
    "SECRET_KEY is short": {"SECRET_KEY": SHORT},
    "SECRET_KEY is the development key": {"SECRET_KEY": DEVELOPMENT},
    "REALTIME_SECRET is missing": {"REALTIME_SECRET": ""},
    "REALTIME_SECRET is short": {"REALTIME_SECRET": SHORT},
    "REALTIME_SECRET is the development key": {"REALTIME_SECRET": DEVELOPMENT},
    "REALTIME_SECRET, an older one is short": {"REALTIME_SECRET": GOOD["REALTIME_SECRET"] + "," + SHORT},
    "REALTIME_SECRET ends in a comma": {"REALTIME_SECRET": GOOD["REALTIME_SECRET"] + ","},
    "REALTIME_SECRET is SECRET_KEY": {"REALTIME_SECRET": GOOD["SECRET_KEY"]},
    "REALTIME_SECRET, an older one is SECRET_KEY": {
        "REALTIME_SECRET": GOOD["REALTIME_SECRET"] + "," + GOOD["SECRET_KEY"]
    },
    "ALLOWED_HOSTS is everything": {"ALLOWED_HOSTS": "*"},
    "ALLOWED_HOSTS holds everything": {"ALLOWED_HOSTS": "site.example,*"},
    "ALLOWED_HOSTS is empty": {"ALLOWED_HOSTS": ""},
    "REALTIME_ALLOWED_ORIGINS holds everything": {"REALTIME_ALLOWED_ORIGINS": "*"},
    "REALTIME_ALLOWED_ORIGINS is no origin": {"REALTIME_ALLOWED_ORIGINS": "site.example"},
    "REALTIME_TOKEN_LIFE_SECS is a day": {"REALTIME_TOKEN_LIFE_SECS": "86400"},
}


def check(env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """`manage.py check` in an environment of these variables alone."""
    return subprocess.run(
        [sys.executable, "manage.py", "check", *options],
        env=GOOD | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def checks() -> dict[str, subprocess.CompletedProcess[str]]:
    """Every case, tried side by side: each starts a Python of its own."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(REFUSED, pool.map(check, REFUSED.values()), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_unsafe_is_refused_by_name_and_no_secret_is_shown(
    checks: dict[str, subprocess.CompletedProcess[str]], case: str
) -> None:
    done = checks[case]
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert case.split()[0].rstrip(",") in said
    for secret in (GOOD["SECRET_KEY"], GOOD["REALTIME_SECRET"], SHORT, "secret-amqp", "secret-database"):
        assert secret not in said


def test_what_is_safe_is_silent_also_for_a_deployment() -> None:
    done = check({}, "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stdout + done.stderr
