"""Chromium and what it looks at: the client alone on a bench, or the running site.

Playwright's sync API owns an event loop, so these tests run in a pytest call of their own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from .bench import ClientBench
from .site import Site


def pytest_configure(config: pytest.Config) -> None:
    """Playwright's plugin is not ready for pytest 10 yet; everything else that warns is an error."""
    config.addinivalue_line(
        "filterwarnings", "ignore:Session-scoped fixtures defined as instance methods:pytest.PytestRemovedIn10Warning"
    )


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium instead of a downloaded one; no sandbox, because containers and root have none."""
    return {
        **browser_type_launch_args,
        "executable_path": "/usr/bin/chromium",
        "args": ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
    }


@pytest.fixture
def bench(page: Page) -> ClientBench:
    """The browser client alone."""
    return ClientBench(page)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The running site; its data is shared by all tests of the session."""
    running = Site(tmp_path_factory.mktemp("site"))
    yield running
    running.stop()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in a browser profile of its own: another person, or another kind of screen.

    Whatever the page says in its console as an error fails the test.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        context.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def alice(site: Site, new_page: Callable[..., Page]) -> Page:
    """Alice, staff, on the home page, online."""
    page = new_page()
    site.sign_in(page, "alice")
    return page


@pytest.fixture
def bob(site: Site, new_page: Callable[..., Page]) -> Page:
    """Bob, no staff, on the home page, online."""
    page = new_page()
    site.sign_in(page, "bob")
    return page
