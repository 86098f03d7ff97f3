"""Nothing that anybody typed steers a terminal (docs/commands.md)."""

from datetime import UTC, datetime

import pytest
from pytest_django import Settings

from apps.realtime.management.terminal import CELL_MAX_CHARS, moment, printable, table


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\r\nb", "\u202eright to left", "\x9b1m", "\0", "\u2028", "\ud800"])
def test_what_is_no_visible_character_is_escaped(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode()
    assert "\\u" in shown


def test_what_is_visible_stays() -> None:
    assert printable("Zoë 😀 {}") == "Zoë 😀 {}"


def test_columns_are_aligned_and_bounded() -> None:
    lines = table(("name", "n"), [("alice\n", 5), (None, 12), ("", 0), ("x" * 1_000, None)])
    assert [line.split()[-1] for line in lines] == ["n", "5", "12", "0", "-"]
    assert {line.rindex("  ") for line in lines} == {CELL_MAX_CHARS}
    assert [line.split()[0] for line in lines[1:4]] == ["alice\\u000a", "-", "-"]
    assert lines[4].startswith("x" * (CELL_MAX_CHARS - 1) + "…")
    assert table(("name",), []) == ["name"]


def test_times_are_the_site_s(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert moment(when) == "2026-01-02 04:04:05" == moment(when.timestamp())
    assert moment(when.replace(tzinfo=None)) == "2026-01-02 03:04:05"
