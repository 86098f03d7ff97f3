"""Settings that cannot work are named (docs/operations.md)."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from apps.realtime.conf import realtime_settings

NAMES = [
    "AMQP_URL",
    "ALLOWED_ORIGINS",
    "TOKEN_LIFE_SECS",
    "HEARTBEAT_SECS",
    "AUTH_TIMEOUT_SECS",
    "AMQP_HEARTBEAT_SECS",
    "QUEUE_STRATEGY",
    "MAX_SOCKETS_PER_USER",
    "MAX_SOCKETS_PER_ADDRESS",
    "CONNECTS_PER_ADDRESS_PER_SEC",
    "LOCAL_SOCKET",
]


def test_a_site_that_sets_only_the_secret_gets_the_defaults(settings: Settings) -> None:
    for name in NAMES:
        delattr(settings, f"REALTIME_{name}")
    conf = realtime_settings()
    assert conf.amqp_urls == ()
    assert conf.local_socket is None
    assert conf.request_user is None
    assert conf.path == "/websocket"
    assert conf.allowed_origins == ()
    assert (conf.token_life_secs, conf.heartbeat_secs, conf.auth_timeout_secs) == (900, 45, 10)
    assert (conf.amqp_heartbeat_secs, conf.queue_strategy) == (10, "user")


def test_they_are_read_once_and_again_after_a_change(settings: Settings) -> None:
    before = realtime_settings()
    assert realtime_settings() is before
    settings.REALTIME_TOKEN_LIFE_SECS = 60
    assert realtime_settings().token_life_secs == 60
    settings.LANGUAGE_CODE = "de"
    assert realtime_settings().token_life_secs == 60


def test_an_empty_amqp_url_is_no_broker(settings: Settings) -> None:
    settings.REALTIME_AMQP_URL = ""
    assert realtime_settings().amqp_urls == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKEN_LIFE_SECS", 901),
        ("TOKEN_LIFE_SECS", 0),
        ("TOKEN_LIFE_SECS", "900"),
        ("TOKEN_LIFE_SECS", True),
        ("TOKEN_LIFE_SECS", None),
        ("TOKEN_LIFE_SECS", float("nan")),
        ("HEARTBEAT_SECS", 61),
        ("HEARTBEAT_SECS", 0),
        ("AUTH_TIMEOUT_SECS", 0),
        ("AUTH_TIMEOUT_SECS", float("inf")),
        ("AMQP_HEARTBEAT_SECS", 0),
        ("MAX_SOCKETS_PER_USER", 0),
        ("MAX_SOCKETS_PER_ADDRESS", -1),
        ("CONNECTS_PER_ADDRESS_PER_SEC", 0),
        ("MAX_TOPICS_PER_SOCKET", -1),
        ("UNSEEN_AFTER_SECS", 0),
        ("UNSEEN_AFTER_SECS", "900"),
        ("UNSEEN_DIGEST", "yes"),
        ("SITE_URL", "example.com"),
        ("SITE_URL", "https://example.com/path"),
        ("SITE_URL", "javascript://example.com"),
        ("SITE_URL", 5),
        ("QUEUE_STRATEGY", "both"),
        ("QUEUE_STRATEGY", None),
        ("ALLOWED_ORIGINS", ["https://site.example/"]),
        ("ALLOWED_ORIGINS", ["*"]),
        ("ALLOWED_ORIGINS", ["site.example"]),
        ("ALLOWED_ORIGINS", "https://site.example"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(settings: Settings, name: str, value: Any) -> None:
    setattr(settings, f"REALTIME_{name}", value)
    with pytest.raises(ImproperlyConfigured, match=f"REALTIME_{name}"):
        realtime_settings()


def test_a_digest_needs_a_time_and_links(settings: Settings) -> None:
    settings.REALTIME_UNSEEN_DIGEST = True
    with pytest.raises(ImproperlyConfigured, match="REALTIME_UNSEEN_AFTER_SECS"):
        realtime_settings()
    settings.REALTIME_UNSEEN_AFTER_SECS = 900
    with pytest.raises(ImproperlyConfigured, match="REALTIME_SITE_URL"):
        realtime_settings()
    settings.REALTIME_SITE_URL = "https://example.com"
    conf = realtime_settings()
    assert (conf.unseen_after_secs, conf.unseen_digest, conf.site_url) == (900, True, "https://example.com")


@pytest.mark.parametrize(("after_secs", "every_secs"), [(None, None), (1, 0.25), (60, 10), (86_400, 10)])
def test_what_tabs_acknowledge_is_written_down_often_enough_for_who_waits_for_it(
    settings: Settings, after_secs: float | None, every_secs: float | None
) -> None:
    settings.REALTIME_UNSEEN_AFTER_SECS = after_secs
    assert realtime_settings().acknowledged_every_secs == every_secs


@pytest.mark.parametrize("value", [None, [], ()])
def test_a_missing_secret_is_refused_with_a_way_out(settings: Settings, value: Any) -> None:
    settings.REALTIME_SECRET = value
    with pytest.raises(ImproperlyConfigured, match=r"REALTIME_SECRET is not set: .*token_urlsafe"):
        realtime_settings()


@pytest.mark.parametrize("short", ["x" * 31, "é" * 15, "", 5, b"x" * 32])
def test_a_short_key_is_refused_at_any_place_and_never_shown(settings: Settings, short: Any) -> None:
    settings.REALTIME_SECRET = ["k" * 32, short]
    with pytest.raises(ImproperlyConfigured, match=r"key 2 of 2.*32 bytes") as caught:
        realtime_settings()
    assert "xxx" not in str(caught.value)


def test_32_bytes_are_a_key(settings: Settings) -> None:
    settings.REALTIME_SECRET = "é" * 16
    assert realtime_settings().secrets == ("é" * 16,)


@pytest.mark.parametrize(
    "url", ["http://broker/", "broker:5672", "amqp://", "amqp://user:secret-word@host:port/", "amqp://h:99999/", 5]
)
def test_a_broker_url_that_cannot_work_is_refused_without_quoting_it(settings: Settings, url: object) -> None:
    settings.REALTIME_AMQP_URL = url
    with pytest.raises(ImproperlyConfigured, match="REALTIME_AMQP_URL is not of the form") as caught:
        realtime_settings()
    assert "secret-word" not in str(caught.value)


def test_several_brokers_are_the_hosts_of_one_cluster(settings: Settings) -> None:
    settings.REALTIME_AMQP_URL = "amqp://u:p@one/, amqp://u:p@two/"
    assert realtime_settings().amqp_urls == ("amqp://u:p@one/", "amqp://u:p@two/")
    settings.REALTIME_AMQP_URL = ["amqp://u:p@one/", "amqp://u:secret-word@two/"]
    with pytest.raises(ImproperlyConfigured, match="REALTIME_AMQP_URL names hosts with different") as caught:
        realtime_settings()
    assert "secret-word" not in str(caught.value)
