"""What people read and follow: no way out of the site, nothing that nobody sees (docs/inbox.md)."""

from typing import Any

import pytest

from apps.realtime.core.errors import BadEvent
from apps.realtime.core.texts import (
    GROUP_MAX_CHARS,
    TITLE_MAX_CHARS,
    URL_MAX_CHARS,
    checked_group,
    checked_title,
    checked_url,
    require_own_url,
)

HOSTS = ["Shop.example", "[::1]", ".wild.example", "*", "127.0.0.1"]


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Paid", "Paid"),
        ("x" * TITLE_MAX_CHARS, "x" * TITLE_MAX_CHARS),
        ("<b>bold</b> & “quoted”", "<b>bold</b> & “quoted”"),
        ("two\r\nlines", "two lines"),
        ("\x1b[31mred\x1b[0m\0", "[31mred [0m"),
        ("\x9b31m \u202e \u2028!", "31m \u202e \u2028!"),
    ],
)
def test_control_characters_of_a_title_take_no_effect(title: str, shown: str) -> None:
    assert checked_title("x", title) == shown


@pytest.mark.parametrize("title", ["", "  ", "\n\0", "x" * (TITLE_MAX_CHARS + 1), "x" * 10_000, "\udfff", None, 5])
def test_a_title_that_says_nothing_or_too_much_is_refused(title: Any) -> None:
    with pytest.raises(BadEvent, match="title of event 'x'") as caught:
        checked_title("x", title)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("group", ["", "a\0", "a\nb", "x" * (GROUP_MAX_CHARS + 1), "\udfff", None, 5])
def test_a_bad_group_is_refused(group: Any) -> None:
    assert checked_group("x", "Article 5 »") == "Article 5 »"
    with pytest.raises(BadEvent, match="group of event 'x'"):
        checked_group("x", group)


@pytest.mark.parametrize("url", ["", "/a\0", "/a\n", "/" + "x" * URL_MAX_CHARS, "\udfff", b"/", 5])
def test_a_url_that_is_no_plain_text_is_refused(url: Any) -> None:
    assert checked_url("x", "/é?a=»#b") == "/é?a=»#b"
    with pytest.raises(BadEvent, match="url of event 'x'"):
        checked_url("x", url)


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/orders/5?next=//evil.example#top",
        "/%5Cevil.example",
        "http://shop.example",
        "https://SHOP.example:8443/orders/5",
        "https://[::1]/x",
        "http://127.0.0.1:8000/",
    ],
)
def test_a_link_to_this_site_is_taken(url: str) -> None:
    require_own_url("x", url, HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "orders/5",
        "?x=1",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "JAVASCRIPT://shop.example/%0aalert(1)",
        "data:text/html,x",
        "ftp://shop.example/",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "https://",
        "https://evil.example/",
        "https://shop.example.evil.example/",
        "https://shop.example@evil.example/",
        "https://user@shop.example/",
        "https://shop.example\\@evil.example/",
        "https://evil.example#@shop.example/",
        "https://evil.example?@shop.example",
        "https://shop.example:port/",
        "https://[::1",
        "https://sub.wild.example/",
        "https://wild.example/",
        "https://.wild.example/",
        "https://*/",
        "https://shop.example\n.evil.example/",
        "https://\u017fhop.example/",
        "https://shop\u3002example/",
    ],
)
def test_a_link_to_anywhere_else_is_refused(url: str) -> None:
    with pytest.raises(BadEvent, match="ALLOWED_HOSTS") as caught:
        require_own_url("x", url, HOSTS)
    assert url not in str(caught.value) or url.isprintable()
