"""The settings as a process reads them from its environment (docs/operations.md)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRODUCTION = {
    "DEMO": "0",
    "DEBUG": "0",
    "SECRET_KEY": "a-key-of-this-test-" + "d" * 40,
    "REALTIME_SECRET": f"{'new-key-' * 5},{'old-key-' * 5}",
    "ALLOWED_HOSTS": "site.example,www.site.example",
    "DATABASE_URL": "sqlite://:memory:",
    "AMQP_URL": "amqps://broker.example/",
}
SHOW = "import project.settings as s; print(*(repr(eval(name, vars(s))) for name in {names!r}), sep='\\n')"


def read(environment: dict[str, str], *names: str) -> subprocess.CompletedProcess[str]:
    """Import the settings in a process of its own and print some of them. Empty values hide this checkout's `.env`."""
    return subprocess.run(
        [sys.executable, "-c", SHOW.format(names=names)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def values(environment: dict[str, str], *names: str) -> list[str]:
    done = read(environment, *names)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_production_is_safe_by_itself() -> None:
    shown = values(
        PRODUCTION,
        "DEBUG",
        "REALTIME_SECRET",
        "ALLOWED_HOSTS",
        "SECURE_SSL_REDIRECT",
        "SESSION_COOKIE_SECURE and CSRF_COOKIE_SECURE",
        "REALTIME_AMQP_URL",
        "REALTIME_LOCAL_SOCKET",
        "DATABASES['default']['CONN_MAX_AGE']",
    )
    assert shown == [
        "False",
        repr(["new-key-" * 5, "old-key-" * 5]),
        "['site.example', 'www.site.example']",
        "True",
        "True",
        "'amqps://broker.example/'",
        "None",
        "0",
    ]


def test_each_secret_may_be_a_credential(tmp_path: Path) -> None:
    names = ("SECRET_KEY", "REALTIME_SECRET", "DATABASE_URL", "AMQP_URL")
    for name in names:
        (tmp_path / name).write_text(f"{PRODUCTION[name]}\n")
    environment = {name: value for name, value in PRODUCTION.items() if name not in names}
    shown = values(
        environment | {"CREDENTIALS_DIRECTORY": str(tmp_path)},
        "SECRET_KEY",
        "REALTIME_SECRET",
        "DATABASES['default']['NAME']",
        "REALTIME_AMQP_URL",
    )
    assert shown == [
        repr(PRODUCTION["SECRET_KEY"]),
        repr(["new-key-" * 5, "old-key-" * 5]),
        "':memory:'",
        "'amqps://broker.example/'",
    ]


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"DEBUG": "1"}, "DEBUG"),
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"REALTIME_SECRET": "short-secret"}, "REALTIME_SECRET"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
    ],
)
def test_production_refuses_to_start_and_says_which_setting(changes: dict[str, str], setting: str) -> None:
    done = read(PRODUCTION | changes, "DEBUG")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ImproperlyConfigured" in last
    assert setting in last
    assert "short-secret" not in done.stderr


def test_the_demo_needs_nothing() -> None:
    demo = {"DEMO": "1", "DEBUG": "0", "ALLOWED_HOSTS": "localhost", "AMQP_URL": ""}
    assert values(
        demo,
        "SECURE_SSL_REDIRECT",
        "SESSION_COOKIE_SECURE",
        "REALTIME_AMQP_URL or None",
        "len(REALTIME_SECRET[0]) >= 32",
    ) == ["False", "False", "None", "True"]


def test_log_lines_are_for_people_or_for_programs_and_silent_about_each_event() -> None:
    formatter, tracing = "LOGGING['formatters']['chosen']['()'].__name__", "LOGGING['loggers']['apps.realtime.tracing']"
    assert values(PRODUCTION, formatter, tracing) == ["'LineFormatter'", "{'level': 'INFO'}"]
    shown = values(PRODUCTION | {"LOG_FORMAT": "json", "LOG_TRACE": "1"}, formatter, tracing)
    assert shown == ["'JsonFormatter'", "{'level': 'DEBUG'}"]
    refused = read(PRODUCTION | {"LOG_FORMAT": "xml"}, "DEBUG")
    assert refused.returncode != 0
    assert "LOG_FORMAT = 'xml': it is one of line, json" in refused.stderr
