"""An event as it was captured (docs/testing.md)."""

import json
from decimal import Decimal
from uuid import UUID

from apps.realtime.core.events import EventTemplate, numbered
from apps.realtime.core.names import ALL
from apps.realtime.testing.events import CapturedEvent, listed, shown


def captured(data: object) -> CapturedEvent:
    return CapturedEvent("all", "n", data, None, None, durable=False)


def test_it_is_what_browsers_get() -> None:
    event = EventTemplate("n", {"a": 1}, json.JSONEncoder, title="t", url="/u/").for_stream(ALL, mid="m", ts=1)
    assert CapturedEvent.of(event) == CapturedEvent("all", "n", {"a": 1}, "t", "/u/", durable=False)
    stored = numbered(ALL, "n", event.frame, "m", "epoch", 1)
    assert CapturedEvent.of(stored) == CapturedEvent("all", "n", {"a": 1}, "t", "/u/", durable=True)


def test_data_that_json_makes_equal_is_equal() -> None:
    key = UUID(int=5)
    event = captured({"key": str(key), "sum": "1.50", "list": [1]})
    assert event.has({"list": (1,), "sum": Decimal("1.50"), "key": key})
    assert not event.has({"list": (1,), "sum": Decimal("1.5"), "key": key})
    assert not event.has(None)
    assert not captured(None).has(object())
    assert captured(None).has(None)


def test_shown_to_people() -> None:
    assert str(captured({"a": "é"})) == 'push n {"a": "é"} to all'
    event = CapturedEvent("user.1", "n", None, "A title", "/u/", durable=True)
    assert str(event) == "notify n null to user.1, title 'A title', url '/u/'"
    assert shown({1}) == "{1}"
    assert len(shown("x" * 10_000)) < 600
    assert listed([]) == "    nothing"
