"""Log lines that stay one line (docs/operations.md)."""

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project.logs import LineFormatter


def line(message: str, *args: object, error: bool = False) -> str:
    record = logging.LogRecord(
        "apps.x",
        logging.INFO,
        "x.py",
        1,
        message,
        args,
        sys.exc_info() if error else None,
    )
    return LineFormatter().format(record)


@given(st.text())
def test_whatever_a_user_typed_a_line_stays_one_line(text: str) -> None:
    shown = line("the name is %s", text)
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("a\nCRITICAL root: forged", r"a\nCRITICAL root: forged"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\x1b[2J\x00", r"\x1b[2J\x00"),
        ("\u2028\u202e\x85\x0b", r"\u2028\u202e\x85\x0b"),
        ("\ud800", r"\ud800"),
        ("caf\u00e9 \U0001f600 </script>", "caf\u00e9 \U0001f600 </script>"),
    ],
)
def test_control_characters_are_shown_escaped(typed: str, shown: str) -> None:
    assert line("%s", typed).endswith(f" INFO apps.x: {shown}")


def test_only_a_traceback_spans_lines() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        lines = line("it failed", error=True).splitlines()
    assert lines[0].endswith("INFO apps.x: it failed")
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    ValueError: why"


def test_no_text_in_an_exception_passes_for_a_line_of_the_log() -> None:
    try:
        raise ValueError("why\n2026-01-01 00:00:00,000 CRITICAL root: forged")
    except ValueError:
        lines = line("it failed", error=True).splitlines()
    assert all(shown.startswith("    ") for shown in lines[1:])
