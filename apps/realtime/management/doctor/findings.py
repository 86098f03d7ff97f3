"""What the doctor says, and how it looks (docs/doctor.md)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from ..terminal import printable

# Shorter ones stand in too many honest words.
_SECRET_MIN_CHARS: Final = 6
# Of one text that came from elsewhere.
_TEXT_MAX_CHARS: Final = 1_000


class Status(StrEnum):
    """How bad it is."""

    OK = "OK"
    # It works now, and will not under load, after an outage, or against an attacker.
    WARN = "WARN"
    # Users miss events, or will.
    FAIL = "FAIL"
    # Not looked at.
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do about it."""

    status: Status
    found: str
    advice: str = ""


class Placed(NamedTuple):
    """A finding with the area that it belongs to."""

    area: str
    finding: Finding


def ok(found: str) -> Finding:
    """It is as it should be."""
    return Finding(Status.OK, found)


def warn(found: str, advice: str) -> Finding:
    """It works, for now."""
    return Finding(Status.WARN, found, advice)


def fail(found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(Status.FAIL, found, advice)


def skip(found: str, advice: str) -> Finding:
    """It was not looked at; `advice` says how to."""
    return Finding(Status.SKIP, found, advice)


def one_line(error: BaseException) -> str:
    """An exception for a finding."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_TEXT_MAX_CHARS] or 'no details'}"


class Writer:
    """Makes text of findings. No secret gets out, whatever library has put it into an error's text, and nothing steers
    the terminal, whoever wrote it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({one for one in secrets if len(one) >= _SECRET_MIN_CHARS}, key=len, reverse=True)

    def cleaned(self, finding: Finding) -> Finding:
        """The finding as it may be shown."""
        return Finding(finding.status, self._clean(finding.found), self._clean(finding.advice))

    def lines(self, placed: Placed) -> str:
        """For a terminal: one line, and one more where something is to be done."""
        area, finding = placed
        line = f"{finding.status:<4}  {area:<9} {finding.found}"
        return f"{line}\n{'':15} → {finding.advice}" if finding.advice else line

    def json(self, all_of_them: Iterable[Placed]) -> str:
        """For a program."""
        findings = [
            {"area": area, "status": finding.status, "found": finding.found, "advice": finding.advice or None}
            for area, finding in all_of_them
        ]
        failed = any(finding["status"] == Status.FAIL for finding in findings)
        return json.dumps({"status": "fail" if failed else "ok", "findings": findings}, indent=2)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "•••")
        return printable(text)
