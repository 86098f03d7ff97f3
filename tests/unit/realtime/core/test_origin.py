"""Which origins may open a socket (docs/tokens.md; reliability: the table of origins)."""

import pytest

from apps.realtime.core.origin import normalized_origin, origin_allowed

OWN = "https://site.example"


@pytest.mark.parametrize(
    "origin",
    [
        "https://site.example",
        "https://site.example:443",
        "https://SITE.Example",
        "HTTPS://site.example",
        "https://partner.example:8443",
    ],
)
def test_our_own_and_a_trusted_origin_are_allowed(origin: str) -> None:
    assert origin_allowed([origin], own=OWN, allowed=["https://partner.example:8443"])


@pytest.mark.parametrize(
    "origins",
    [
        [],  # missing
        [""],
        ["null"],
        ["https://evil.example"],  # foreign
        ["https://site.example.evil"],  # ours as a prefix
        ["https://evilsite.example"],  # ours as a suffix
        ["https://www.site.example"],  # a subdomain is another site
        ["https://example"],
        ["http://site.example"],  # other scheme
        ["wss://site.example"],
        ["https://site.example:8443"],  # other port
        ["https://site.example:80"],
        ["https://partner.example"],  # trusted on another port only
        ["https://site.example:443:443"],
        ["https://site.example:99999"],
        ["https://site.example:-1"],
        ["https://site.example:port"],
        ["https://evil@site.example"],  # userinfo
        ["https://site.example@evil.example"],
        ["https://site.example/"],  # an origin has no path
        ["https://site.example/path"],
        ["https://site.example?"],
        ["https://site.example?query"],
        ["https://site.example#"],
        ["https://site.example."],  # the same host to DNS, another one to a browser
        ["https://site.example", "https://site.example"],  # two headers
        ["https://site.example", "https://evil.example"],
        ["https://site.example, https://evil.example"],
        ["https://site.example https://evil.example"],
        ["https://xn--site-exmple-0eb.example"],  # IDN look-alike
        ["https://sitе.example"],  # with a Cyrillic letter  # noqa: RUF001
        ["https://[::1]"],
        ["https://[site.example]"],
        ["https://[::1"],
        ["https://site.example\t"],  # urlsplit would drop these
        ["https://site\n.example"],
        ["\nhttps://site.example"],
        [" https://site.example"],
        ["https://site.example\x00"],
        ["https://site.example\x7f"],
        ["//site.example"],
        ["site.example"],
        ["https:site.example"],
        ["https:///site.example"],
        ["https://"],
        ["https://:443"],
        ["file://site.example"],
        ["chrome-extension://site.example"],
        ["javascript:alert(1)"],
    ],
)
def test_any_other_origin_is_refused(origins: list[str]) -> None:
    assert not origin_allowed(origins, own=OWN, allowed=["https://partner.example:8443"])


def test_where_the_host_is_none_of_ours_only_trusted_origins_count() -> None:
    assert not origin_allowed([OWN], own=None, allowed=[])
    assert origin_allowed([OWN], own=None, allowed=[OWN])


def test_an_own_origin_that_is_none_allows_nobody() -> None:
    assert not origin_allowed(["null"], own="null", allowed=[])


@pytest.mark.parametrize(
    ("origin", "parts"),
    [
        ("http://localhost", ("http", "localhost", 80)),
        ("http://127.0.0.1:8000", ("http", "127.0.0.1", 8000)),
        ("http://[::1]:8000", ("http", "::1", 8000)),
        ("https://xn--bcher-kva.example", ("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_an_origin_is_scheme_host_and_port(origin: str, parts: tuple[str, str, int]) -> None:
    assert normalized_origin(origin) == parts
