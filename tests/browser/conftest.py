"""Chromium and what it looks at: the client alone on a bench, or the running site.

Playwright's sync API owns an event loop, so these tests run in a pytest call of their own.
"""

from typing import Any

import pytest
from playwright.sync_api import Page

from .bench import ClientBench


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
