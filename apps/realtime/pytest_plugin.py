"""The pytest plugin: its fixtures, for every project that has the library installed (docs/testing.md).

pytest loads it before Django is set up, so it imports nothing of the library before a test asks for it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import Captured


@pytest.fixture
def captured_events() -> "Iterator[Captured]":
    """What the test's code sends, kept instead of published."""
    from .testing import capture_events

    with capture_events() as captured:
        yield captured
