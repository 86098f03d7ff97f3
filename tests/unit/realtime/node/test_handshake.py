"""What a handshake tells of its sender (docs/tokens.md)."""

from typing import Any

import pytest
from pytest_django import Settings

from apps.realtime.node.handshake import client_address, offers_v1, origin_is_allowed

Header = tuple[bytes, bytes]


@pytest.fixture(autouse=True)
def site(settings: Settings) -> Settings:
    """A site behind a proxy."""
    settings.ALLOWED_HOSTS = ["site.example", ".wide.example", "[::1]"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    return settings


def scope(*headers: Header, **more: Any) -> dict[str, Any]:
    return {"headers": list(headers), **more}


def asked(origin: str, host: str, *headers: Header, allowed: tuple[str, ...] = (), **more: Any) -> bool:
    return origin_is_allowed(scope((b"origin", origin.encode()), (b"host", host.encode()), *headers, **more), allowed)


HTTPS: Header = (b"x-forwarded-proto", b"https")


@pytest.mark.parametrize(
    ("origin", "host", "headers"),
    [
        ("http://site.example", "site.example", ()),
        ("http://site.example", "SITE.example", ()),
        ("http://site.example:8080", "site.example:8080", ()),
        ("https://site.example", "site.example", (HTTPS,)),
        ("https://site.example", "site.example:443", (HTTPS,)),
        ("https://a.wide.example", "a.wide.example", (HTTPS,)),
        ("http://[::1]:8000", "[::1]:8000", ()),
    ],
)
def test_a_page_of_the_host_that_is_asked_is_ours(origin: str, host: str, headers: tuple[Header, ...]) -> None:
    assert asked(origin, host, *headers)


@pytest.mark.parametrize(
    ("origin", "host", "headers"),
    [
        ("http://site.example", "site.example", (HTTPS,)),  # other scheme
        ("https://site.example", "site.example", ()),
        ("https://site.example", "site.example", (HTTPS, (b"x-forwarded-proto", b"http"))),  # the proxy says one thing
        ("http://site.example:8080", "site.example", ()),  # other port
        ("http://site.example", "site.example:8080", ()),
        ("http://evil.example", "site.example", ()),
        ("http://evil.example", "evil.example", ()),  # the Host is the attacker's too
        ("http://site.example.evil", "site.example.evil", ()),
        ("http://b.wide.example", "a.wide.example", ()),  # both ours, but not the same
        ("http://site.example", "site.example, evil.example", ()),
        ("http://site.example", "user@site.example", ()),
        ("http://site.example", "", ()),
        ("null", "site.example", ()),
    ],
)
def test_any_other_page_is_not(origin: str, host: str, headers: tuple[Header, ...]) -> None:
    assert not asked(origin, host, *headers)


def test_headers_that_are_missing_or_double_are_refused() -> None:
    origin, host = (b"origin", b"http://site.example"), (b"host", b"site.example")
    assert origin_is_allowed(scope(origin, host), ())
    assert origin_is_allowed(scope((b"Origin", origin[1]), (b"Host", host[1])), ())
    for headers in (
        [],
        [origin],
        [host],
        [origin, origin, host],
        [origin, host, host],
        [origin, host, (b"HOST", b"x")],
    ):
        assert not origin_is_allowed(scope(*headers), ())


def test_bytes_that_are_no_ascii_are_refused() -> None:
    headers = ((b"origin", b"http://site.example\xff"), (b"host", b"site.example\xff"))
    assert not origin_is_allowed(scope(*headers), ())


def test_a_trusted_origin_needs_no_host_of_ours() -> None:
    assert asked("https://app.example", "anything", allowed=("https://app.example",))
    assert not asked("https://app.example.evil", "anything", allowed=("https://app.example",))


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_where_no_proxy_is_trusted_the_server_s_word_counts(site: Settings, scheme: str) -> None:
    site.SECURE_PROXY_SSL_HEADER = None
    assert asked("https://site.example", "site.example", scheme=scheme)
    assert not asked("https://site.example", "site.example", scheme="ws")
    # What a client says by itself does not.
    assert not asked("https://site.example", "site.example", HTTPS, scheme="ws")


def test_a_debugging_site_without_hosts_is_on_localhost(site: Settings) -> None:
    site.ALLOWED_HOSTS = []
    assert not asked("http://localhost:8000", "localhost:8000")
    site.DEBUG = True
    assert asked("http://localhost:8000", "localhost:8000")
    assert not asked("http://evil.example", "evil.example")


@pytest.mark.parametrize(
    ("offered", "speaks"),
    [
        ({}, False),
        ({"subprotocols": []}, False),
        ({"subprotocols": ["realtime.v2"]}, False),
        ({"subprotocols": ["other", "realtime.v1"]}, True),
    ],
)
def test_a_client_of_2016_offers_no_subprotocol(offered: dict[str, Any], speaks: bool) -> None:
    assert offers_v1(scope(**offered)) is speaks


def test_limits_count_by_address() -> None:
    assert client_address(scope(client=["192.0.2.1", 5])) == "192.0.2.1"
    assert client_address(scope(client=None)) is None
    assert client_address(scope()) is None


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("no address", "no address"),
    ],
)
def test_a_customers_ipv6_network_counts_as_one_address(host: str, counted: str) -> None:
    assert client_address(scope(client=[host, 5])) == counted
