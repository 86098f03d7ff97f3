"""Lines for a terminal, in which nothing that anybody typed steers it (docs/commands.md)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from django.utils import timezone

CELL_MAX_CHARS: Final = 40


def printable(text: str) -> str:
    """The text with everything escaped that is no visible character: control characters, changes of direction."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of aligned columns; None is shown as `-`, and what is too long is cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *cells)]


def moment(when: datetime | float) -> str:
    """A time, or unix seconds, in the time zone of the site."""
    known = when if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)
    # A site without time zones stores its own.
    local = known if timezone.is_naive(known) else timezone.localtime(known)
    return local.strftime("%Y-%m-%d %H:%M:%S")


def _cell(value: object) -> str:
    text = "-" if value is None or value == "" else printable(str(value))
    return text if len(text) <= CELL_MAX_CHARS else text[: CELL_MAX_CHARS - 1] + "…"
