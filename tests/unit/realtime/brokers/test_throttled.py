"""At most a line a second (docs/brokers.md)."""

import logging
from types import SimpleNamespace

import pytest

from apps.realtime.brokers import throttled as module
from apps.realtime.brokers.throttled import ThrottledLog


def test_a_flood_is_one_line_a_second_with_its_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    log = ThrottledLog(logging.getLogger("test"))
    with caplog.at_level(logging.WARNING):
        for number in range(250):
            log.warning("dropped %s", number)
            clock.now += 0.01
    assert [record.getMessage() for record in caplog.records] == [
        "dropped 0 (and 0 more like it)",
        "dropped 100 (and 99 more like it)",
        "dropped 200 (and 99 more like it)",
    ]


def test_what_a_message_holds_is_no_format(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ThrottledLog(logging.getLogger("test")).warning("bad: %s", "100 %s %d")
    assert caplog.records[0].getMessage() == "bad: 100 %s %d (and 0 more like it)"
