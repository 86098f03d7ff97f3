"""`manage.py realtime doctor`, from its options to its exit status (docs/doctor.md)."""

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.realtime.management.doctor import command
from apps.realtime.management.doctor.areas import Area
from apps.realtime.management.doctor.findings import Finding, fail, ok, warn


def run(*arguments: str) -> tuple[str, str]:
    """What it prints, and why it fails."""
    out = StringIO()
    try:
        call_command("realtime", "doctor", *arguments, stdout=out)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


def finds(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    def look() -> Iterator[Finding]:
        yield from findings

    monkeypatch.setattr(command, "_areas", lambda options: [Area("it", look, 5)])


def test_a_failure_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, ok("fine"), fail("bad", "mend"))
    out, error = run()
    assert out.splitlines() == ["OK    it        fine", "FAIL  it        bad", "                → mend"]
    assert error == "1 of 2 findings are failures"


def test_a_warning_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, warn("slow", "wait"))
    assert run() == ("WARN  it        slow\n                → wait\n", "")


def test_a_program_gets_json_and_no_secret(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    finds(monkeypatch, fail(f"bad {settings.SECRET_KEY}\x1b[2J", "mend"))
    out, error = run("--json")
    told = json.loads(out)
    assert told["status"] == "fail"
    assert told["findings"][0]["found"] == "bad •••\\u001b[2J"
    assert error == "1 of 1 findings are failures"


def test_settings_that_cannot_work_are_a_finding_too(settings: Settings) -> None:
    settings.REALTIME_SECRET = "short"
    out, _ = run("--json")
    findings = json.loads(out)["findings"]
    assert {finding["area"] for finding in findings} == {"settings", "client"}
    assert any("(message_flow.E001)" in finding["found"] for finding in findings if finding["status"] == "FAIL")


def areas(**options: Any) -> list[str]:
    defaults: dict[str, Any] = {"url": [], "user": None, "nginx": None, "role": "both", "json": False}
    return [area.name for area in command._areas(defaults | options)]


def test_everything_is_looked_at_in_the_order_of_the_way(settings: Settings) -> None:
    everything = ["settings", "client", "nginx", "database", "broker", "relay", "nodes", "way"]
    assert areas() == areas(role="web") == everything
    # Its user may not publish.
    assert areas(role="node") == everything[:-1]


@pytest.mark.parametrize("arguments", [("--url=ws://x",), ("--url", "9101"), ("--role=other",), ("--nginx",), ("x",)])
def test_options_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    finds(monkeypatch)
    out, error = run(*arguments)
    assert (out, bool(error)) == ("", True)
