"""Daphne sends no message above the size that it accepts: the largest event must pass (docs/security.md)."""

import re
from pathlib import Path

from django.conf import settings

from apps.realtime.core.events import FRAME_MAX_BYTES

ROOT = Path(__file__).parents[2]


def test_the_daphne_commands_let_the_largest_event_pass() -> None:
    sizes = [
        int(size)
        for folder in ("ops", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".conf", ".service", ".md")
        for size in re.findall(r"--websocket-max-message-size (\d+)", path.read_text())
    ]
    assert len(sizes) >= 4
    assert set(sizes) == {FRAME_MAX_BYTES}


def test_runserver_lets_the_largest_event_pass() -> None:
    assert settings.DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE == FRAME_MAX_BYTES
