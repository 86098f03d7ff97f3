"""`manage.py check --deploy` names what is no deployment (docs/doctor.md)."""

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from pytest_django import Settings

RANDOM = "0J7r-Xq9wLrUe2ZcVbn5tYh8KsDf3GaPoIxMvB1QyE6TuWjRkN4"


@pytest.fixture(autouse=True)
def production(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that no check says anything about."""
    monkeypatch.setattr(connection, "vendor", "postgresql")
    settings.REALTIME_AMQP_URL = "amqps://site:password@broker.example/"
    settings.REALTIME_SECRET = RANDOM
    settings.ALLOWED_HOSTS = ["example.org"]
    settings.SESSION_COOKIE_SECURE = settings.SECURE_SSL_REDIRECT = True
    return settings


def found(*, deploy: bool = True) -> dict[str, CheckMessage]:
    messages = {str(message.id).removeprefix("message_flow."): message for message in run_checks(None, None, deploy)}
    return {id: message for id, message in messages.items() if not id.startswith("security.")}


def test_a_deployment_as_it_should_be() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("name", "value", "id"),
    [
        ("REALTIME_AMQP_URL", None, "W002"),
        ("REALTIME_AMQP_URL", "amqp://site:password@broker.example/", "W022"),
        ("REALTIME_AMQP_URL", "amqps://guest:guest@broker.example/", "W023"),
        ("REALTIME_AMQP_URL", "amqps://broker.example/", "W023"),
        ("SECRET_KEY", RANDOM, "W024"),
        ("REALTIME_SECRET", "x" * 50, "W025"),
        ("REALTIME_SECRET", "django-insecure-" + RANDOM, "W025"),
        ("ALLOWED_HOSTS", ["*"], "W026"),
        ("REALTIME_ALLOWED_ORIGINS", ["https://app.example.org", "http://localhost:3000"], "W027"),
        ("SECURE_PROXY_SSL_HEADER", None, "W028"),
    ],
)
def test_what_is_fine_on_a_laptop_only(settings: Settings, name: str, value: object, id: str) -> None:
    setattr(settings, name, value)
    assert set(found()) == {id}
    assert found(deploy=False) == {}


def test_sqlite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert set(found()) == {"W021"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REALTIME_AMQP_URL", "amqp://site:password@127.0.0.1/"),
        ("REALTIME_SECRET", [RANDOM, RANDOM[::-1]]),
        ("REALTIME_ALLOWED_ORIGINS", ["https://app.example.org"]),
    ],
)
def test_what_is_fine_anywhere(settings: Settings, name: str, value: object) -> None:
    setattr(settings, name, value)
    assert found() == {}


def test_the_proxy_s_word_is_not_needed_where_origins_are_named_or_there_is_no_https(settings: Settings) -> None:
    settings.SECURE_PROXY_SSL_HEADER = None
    settings.REALTIME_ALLOWED_ORIGINS = ["https://example.org"]
    assert found() == {}
    settings.REALTIME_ALLOWED_ORIGINS = []
    settings.SESSION_COOKIE_SECURE = settings.SECURE_SSL_REDIRECT = False
    assert found() == {}


def test_no_message_quotes_a_secret(settings: Settings) -> None:
    settings.REALTIME_SECRET = ["x" * 50, settings.SECRET_KEY]
    settings.REALTIME_AMQP_URL = "amqp://guest:not-for-logs@broker.example/"
    said = "".join(f"{message.msg}{message.hint}" for message in found().values())
    assert len(found()) == 4
    assert not any(secret in said for secret in ("x" * 50, settings.SECRET_KEY, "not-for-logs"))


def test_a_setting_that_cannot_work_is_said_once(settings: Settings) -> None:
    settings.REALTIME_AMQP_URL = "nonsense"
    settings.ASGI_APPLICATION = None
    assert set(found()) == {"E001", "E003"}
