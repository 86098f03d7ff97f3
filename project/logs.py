"""Log lines that stay one line, whatever a user typed (docs/operations.md)."""

import logging
from textwrap import indent
from typing import Any, Final

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """Escapes control characters in the message; only a traceback of our own spans lines."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in record.message
        )
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """Indented, so that no text in an exception can pass for a line of the log."""
        return indent(super().formatException(ei), "    ")
