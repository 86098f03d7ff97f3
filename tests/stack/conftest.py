"""Two stacks for the run, one that is left in peace and one that is shaken (docs/stack.md).

Playwright's sync API owns an event loop, so these tests run in a pytest call of their own, and none is async.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.stack.checkout import Checkout
from tests.stack.pages import Home, open_home

# Short enough to see a token expire, long enough for a page to be opened with it on a busy machine.
TOKEN_LIFE_SECS = 12


def pytest_configure(config: pytest.Config) -> None:
    """Playwright's plugin is not ready for pytest 10 yet; everything else that warns is an error."""
    config.addinivalue_line(
        "filterwarnings", "ignore:Session-scoped fixtures defined as instance methods:pytest.PytestRemovedIn10Warning"
    )
    config.addinivalue_line("markers", "late(rank): runs after all others of this folder, in the order of the ranks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep any order but for those that wait, or end a stack, which come last."""

    def rank(item: pytest.Item) -> int:
        marker = item.get_closest_marker("late")
        return marker.args[0] if marker else 0

    items.sort(key=rank)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium instead of a downloaded one; no sandbox, because containers and root have none."""
    return {
        **browser_type_launch_args,
        "executable_path": "/usr/bin/chromium",
        "args": ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
    }


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A stack with the settings that it ships with; nothing in it is killed."""
    yield from _running(Checkout(tmp_path_factory.mktemp("calm")))


@pytest.fixture(scope="session")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A stack with short-lived tokens, whose processes are killed."""
    yield from _running(Checkout(tmp_path_factory.mktemp("shaken")), REALTIME_TOKEN_LIFE_SECS=str(TOKEN_LIFE_SECS))


def _running(checkout: Checkout, **env: str) -> Iterator[Checkout]:
    try:
        checkout.start(**env)
        yield checkout
    finally:
        checkout.make("stack-stop")


@pytest.fixture(scope="session", autouse=True)
def idle_home(calm: Checkout, browser: Browser) -> Iterator[Home]:
    """A page that was opened before the first test, and is left alone until the last ones."""
    context = browser.new_context()
    yield open_home(context.new_page(), calm, "carol")
    context.close()
