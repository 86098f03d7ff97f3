"""What was captured of an event, and how it is shown to who reads a failure (docs/testing.md)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from django.core.serializers.json import DjangoJSONEncoder

from ..core.events import Event

# Of one event, in a list of many.
_SHOWN_MAX_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """An event as browsers get it.

    Attributes:
        stream: where it went: `user.<id>`, `all` or `topic.<name>`.
        id: what it is called.
        data: after its way through JSON.
        title: what has happened, for people; None where none was given.
        url: where to look; None where none was given.
        durable: whether it came from `notify` and was stored.
    """

    stream: str
    id: str
    data: Any
    title: str | None
    url: str | None
    durable: bool

    @classmethod
    def of(cls, event: Event) -> Self:
        """What a browser sees of the event."""
        frame = json.loads(event.frame)
        return cls(event.stream, event.id, frame["data"], frame.get("title"), frame.get("url"), event.seq > 0)

    def has(self, data: object) -> bool:
        """Whether its data is this, as it is or by its way through JSON."""
        return bool(self.data == data) or _as_json(self.data) == _as_json(data)

    def __str__(self) -> str:
        texts = [f", {name} {value!r}" for name in ("title", "url") if (value := getattr(self, name)) is not None]
        verb = "notify" if self.durable else "push"
        return f"{verb} {self.id} {shown(self.data)} to {self.stream}{''.join(texts)}"


def shown(data: object) -> str:
    """Data as JSON in one line; as Python has it, where it is none."""
    text = _as_json(data) or repr(data)
    return text if len(text) <= _SHOWN_MAX_CHARS else text[:_SHOWN_MAX_CHARS] + "…"


def listed(lines: Iterable[object]) -> str:
    """One below the other, indented."""
    return "\n".join(f"    {line}" for line in lines) or "    nothing"


def _as_json(data: object) -> str | None:
    try:
        return json.dumps(data, cls=DjangoJSONEncoder, ensure_ascii=False, sort_keys=True)
    except (TypeError, ValueError):
        return None
