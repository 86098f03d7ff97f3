"""Where secrets come from, and what production refuses to start with (docs/operations.md)."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.environment import DEVELOPMENT_PREFIX, refuse_unsafe_production, secret

SAFE: dict[str, Any] = {
    "debug": False,
    "secret_key": "d" * 50,
    "realtime_secrets": ["t" * 32, "o" * 32],
    "allowed_hosts": ["site.example", ".wide.example"],
    "amqp_url": "amqps://user:password@broker.example/vhost",
}


def test_a_safe_production_starts() -> None:
    refuse_unsafe_production(**SAFE)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "amqp://localhost/",
        "amqp://127.0.0.1:5673/x",
        "amqp://localhost:5672/,amqp://localhost:5673/",
        "amqp://[::1]/",
    ],
)
def test_on_this_machine_the_broker_needs_no_tls(url: str | None) -> None:
    refuse_unsafe_production(**SAFE | {"amqp_url": url})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"debug": True}, "DEBUG is on"),
        ({"secret_key": ""}, "SECRET_KEY is not set"),
        ({"secret_key": "short-secret"}, "SECRET_KEY is shorter than 32 bytes"),
        ({"secret_key": "d" * 31}, "SECRET_KEY is shorter than 32 bytes"),
        ({"secret_key": DEVELOPMENT_PREFIX + "x" * 48}, "SECRET_KEY is the development secret"),
        ({"realtime_secrets": []}, "REALTIME_SECRET is not set"),
        ({"realtime_secrets": [""]}, "REALTIME_SECRET is not set"),
        ({"realtime_secrets": ["t" * 32, "short-secret"]}, "REALTIME_SECRET is shorter than 32 bytes"),
        ({"realtime_secrets": ["t" * 32, DEVELOPMENT_PREFIX + "x" * 48]}, "REALTIME_SECRET is the development secret"),
        ({"realtime_secrets": ["t" * 32, "d" * 50]}, "REALTIME_SECRET equals SECRET_KEY"),
        ({"allowed_hosts": []}, "ALLOWED_HOSTS is empty"),
        ({"allowed_hosts": ["*"]}, r"ALLOWED_HOSTS is \*"),
        ({"allowed_hosts": ["site.example", "*"]}, r"ALLOWED_HOSTS is \*"),
        ({"amqp_url": "amqp://xxx:xxx@broker.example/"}, "AMQP_URL goes to another machine without TLS"),
        ({"amqp_url": "amqp://localhost/,amqp://xxx.example/"}, "AMQP_URL goes to another machine without TLS"),
        ({"amqp_url": "amqp://xxx@localhost/,amqps://xxx@broker.example/"}, "AMQP_URL names hosts with different"),
        ({"amqp_url": "amqp://10.0.0.7/"}, "AMQP_URL goes to another machine without TLS"),
        ({"amqp_url": "amqp://localhost.evil.example/"}, "AMQP_URL goes to another machine without TLS"),
    ],
)
def test_a_hole_is_refused_by_name_and_never_by_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message) as caught:
        refuse_unsafe_production(**SAFE | changes)
    for value in ("short-secret", "ddd", "ttt", "xxx"):
        assert value not in str(caught.value)


def test_a_secret_comes_from_systemd_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "SECRET_KEY").write_text("of-systemd\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "SECRET_KEY": "of-the-environment", "AMQP_URL": "amqp://x/"}
    assert secret("SECRET_KEY", environ) == "of-systemd"
    assert secret("AMQP_URL", environ) == "amqp://x/"
    assert secret("DATABASE_URL", environ) is None
    assert secret("SECRET_KEY", {"SECRET_KEY": "of-the-environment"}) == "of-the-environment"


def test_a_credential_that_cannot_be_read_is_named_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "SECRET_KEY").write_bytes(b"\xff-a-secret")
    with pytest.raises(ImproperlyConfigured, match="the credential SECRET_KEY cannot be read") as caught:
        secret("SECRET_KEY", {"CREDENTIALS_DIRECTORY": str(tmp_path), "SECRET_KEY": "of-the-environment"})
    assert "a-secret" not in str(caught.value)
