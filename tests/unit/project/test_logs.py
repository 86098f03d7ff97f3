"""Log lines that stay one line (docs/logs.md)."""

import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.tracing import begin, end
from project.logs import JsonFormatter, LineFormatter


def record_of(message: str, *args: object, error: bool = False) -> logging.LogRecord:
    return logging.LogRecord("apps.x", logging.INFO, "x.py", 1, message, args, sys.exc_info() if error else None)


def line(message: str, *args: object, error: bool = False) -> str:
    return LineFormatter().format(record_of(message, *args, error=error))


def fields(record: logging.LogRecord) -> Any:
    """What the one line of the record holds."""
    text = JsonFormatter().format(record)
    assert text.isascii()
    assert text.isprintable()
    return json.loads(text)


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


def test_a_line_of_a_request_ends_with_its_id() -> None:
    begin("0123456789abcdef" * 2)
    assert line("a page").endswith("INFO apps.x: a page [request 0123456789abcdef0123456789abcdef]")
    end()
    assert line("a page").endswith("INFO apps.x: a page")


# JSON --------------------------------------------------------------------------------------------


@given(st.text())
def test_whatever_a_user_typed_json_stays_one_line_and_keeps_it(text: str) -> None:
    assert fields(record_of("the name is %s", text))["message"] == f"the name is {text}"


def test_json_has_the_time_in_utc_and_nothing_that_is_not_known() -> None:
    record = record_of("a page")
    record.created = 1_800_000_000.25
    assert fields(record) == {
        "at": "2027-01-15T08:00:00.250+00:00",
        "level": "INFO",
        "logger": "apps.x",
        "message": "a page",
    }


def test_json_names_the_request_the_event_and_the_exception() -> None:
    try:
        raise ValueError("why\nnot")
    except ValueError:
        record = record_of("stored", error=True)
    vars(record).update(event="x/Y", mid="m", stream="user.1", color="red")
    begin("0123456789abcdef" * 2)
    found = fields(record)
    end()
    assert found.pop("exception").endswith("ValueError: why\nnot")
    assert found.keys() == {"at", "level", "logger", "message", "request", "event", "mid", "stream"}
    assert (found["request"], found["event"]) == ("0123456789abcdef" * 2, "x/Y")
