"""A page that still serves the script of 2016, with its cookie, works on the running site (docs/browser-client.md).

`page_of_2016/websocket.js` stands for that script: neither of our clients is loaded.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from .site import Site

_PATH: Final = "/static/page_of_2016/index.html"
_COOKIE: Final = "auth_token"

_FIRST: Final = ["< AUTH REQUEST", "> fetched", "< AUTH OK"]
# The stale cookie is one answer too many, which the server forgives.
_RENEWED: Final = ["< AUTH REQUEST", "> cookie", "< AUTH FAILED", "< AUTH REQUEST", "> fetched", "< AUTH OK"]


class OldPage:
    """The page in a browser in which alice has signed in."""

    def __init__(self, site: Site, page: Page) -> None:
        self.site = site
        self.page = page
        site.sign_in(page, "alice")

    def open(self) -> None:
        """Load it and wait until it is authenticated."""
        self.site.open(self.page, _PATH)

    def wait_for(self, *traffic: str) -> None:
        """Wait until frames have gone over its sockets, which have to be these first of all."""
        self.page.wait_for_function("length => traffic.length >= length", arg=len(traffic), timeout=20_000)
        assert self.page.evaluate("traffic")[: len(traffic)] == list(traffic)

    def expect_event(self, user: str, number: int) -> None:
        """Push an event to the user and wait until the page's handler has it, and nothing else."""
        self.site.push(user, ("EXAMPLE ID", {"n": number}))
        self.page.wait_for_function("handled.length > 0")
        assert self.page.evaluate("handled") == [{"n": number}]

    @property
    def cookie(self) -> str | None:
        """The token that its script keeps."""
        kept = [cookie["value"] for cookie in self.page.context.cookies() if cookie["name"] == _COOKIE]
        return kept[0] if kept else None


@pytest.fixture
def old_page(site: Site, new_page: Callable[..., Page]) -> OldPage:
    """The page on the running site, whose tokens outlive the test."""
    return OldPage(site, new_page())


@pytest.fixture
def brief_site(tmp_path: Path) -> Iterator[Site]:
    """A site whose tokens live for seconds."""
    running = Site(tmp_path, REALTIME_TOKEN_LIFE_SECS="4")
    yield running
    running.stop()


def test_it_stays_authenticated_and_hears_its_user(brief_site: Site, new_page: Callable[..., Page]) -> None:
    old_page = OldPage(brief_site, new_page())
    old_page.open()
    old_page.wait_for(*_FIRST, *_RENEWED, *_RENEWED)
    old_page.site.expect_online(old_page.page)
    old_page.expect_event("alice", 1)
    assert "closed" not in " ".join(old_page.page.evaluate("traffic"))


def test_a_reload_presents_the_cookie_that_is_still_good(old_page: OldPage) -> None:
    old_page.open()
    old_page.page.reload()
    old_page.site.expect_online(old_page.page)
    old_page.wait_for("< AUTH REQUEST", "> cookie", "< AUTH OK")


@pytest.mark.parametrize("kept", [False, True], ids=["cookie expired by the site", "cookie still there"])
def test_the_cookie_of_the_user_before_does_no_harm(old_page: OldPage, *, kept: bool) -> None:
    site, page = old_page.site, old_page.page
    old_page.open()
    stale = old_page.cookie
    assert stale is not None
    page.goto(site.url + "/")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Username")).to_be_visible()
    site.sign_in(page, "bob")
    assert old_page.cookie is None
    if kept:
        # A site without SeedCookieMiddleware.
        page.context.add_cookies([{"name": _COOKIE, "value": stale, "url": site.url}])
    old_page.open()
    if kept:
        old_page.wait_for("< AUTH REQUEST", "> cookie", "< AUTH FAILED", "< AUTH REQUEST", "> fetched", "< AUTH OK")
    else:
        old_page.wait_for(*_FIRST)
    site.push("alice", ("EXAMPLE ID", "for alice alone"))
    old_page.expect_event("bob", 2)
    assert old_page.cookie != stale
