"""Log lines that stay one line, whatever a user typed, for people or for programs (docs/logs.md)."""

import json
import logging
from datetime import UTC, datetime
from textwrap import indent
from typing import Any, Final

from apps.realtime.tracing import request_id

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What a line may say beside its message (`tracing.step`).
_MORE: Final = ("event", "mid", "stream")


class LineFormatter(logging.Formatter):
    """Escapes control characters in the message; only a traceback of our own spans lines."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in record.message
        )
        line = super().formatMessage(record)
        return f"{line} [request {request}]" if (request := request_id()) else line

    def formatException(self, ei: Any) -> str:
        """Indented, so that no text in an exception can pass for a line of the log."""
        return indent(super().formatException(ei), "    ")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII; a traceback is one of its texts."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id():
            fields["request"] = request
        fields |= {name: str(getattr(record, name)) for name in _MORE if hasattr(record, name)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


# By the value of the setting LOG_FORMAT.
FORMATTERS: Final[dict[str, type[logging.Formatter]]] = {"line": LineFormatter, "json": JsonFormatter}
