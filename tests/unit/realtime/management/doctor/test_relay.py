"""Whether a relay is alive, seen by what it does (docs/doctor.md)."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from apps.realtime.conf import realtime_settings
from apps.realtime.management.doctor import relay as module
from apps.realtime.management.doctor.findings import Status
from apps.realtime.management.doctor.probe import PROBE_STREAM
from apps.realtime.management.doctor.relay import look_at_relay
from apps.realtime.models import StoredEvent
from apps.realtime.publishing import relay as relay_module
from apps.realtime.publishing.relay import Relay
from tests.unit.conftest import RecordingPublisher

LONG_AGO = Now() - timedelta(seconds=90)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "ABANDONED_AFTER", timedelta(seconds=-1))
    monkeypatch.setattr(module, "NUMBERED_SECS", 0.2)
    monkeypatch.setattr(module, "CONFIRMED_SECS", 0.2)


def found() -> list[tuple[Status, str]]:
    return [(finding.status, finding.found) for finding in look_at_relay()]


def while_waiting(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Another process would do it meanwhile; a database in memory has only this one."""
    monkeypatch.setattr(time, "sleep", lambda _: work())


@pytest.mark.django_db(transaction=True)
def test_a_relay_that_works_is_seen_by_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = RecordingPublisher()
    relay = Relay(realtime_settings(), publisher)

    def work() -> None:
        relay._turn()
        relay._wait(0)

    while_waiting(monkeypatch, work)
    [(status, text)] = found()
    assert status is Status.OK
    assert text.startswith("it numbered an event that was left for it after 0.")
    [event] = publisher.events
    assert event.stream == PROBE_STREAM
    assert relay.problem is None


@pytest.mark.django_db(transaction=True)
def test_a_relay_whose_link_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = RecordingPublisher()
    publisher.answer = None
    relay = Relay(realtime_settings(), publisher)
    while_waiting(monkeypatch, relay._turn)
    [(status, text)] = found()
    assert (status, "has not published it" in text) == (Status.FAIL, True)


@pytest.mark.django_db
def test_without_a_relay_nothing_happens_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    while_waiting(monkeypatch, lambda: None)
    [(status, text)] = found()
    assert (status, "no relay has taken an event" in text) == (Status.FAIL, True)
    assert not StoredEvent.objects.exists()


@pytest.mark.django_db
def test_what_waits_for_a_relay_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    while_waiting(monkeypatch, lambda: None)
    monkeypatch.setattr(module, "COUNT_MAX", 2)

    def store(seq: int | None, **fields: object) -> None:
        epoch = None if seq is None else "e1"
        row = {"stream": "user.1", "mid": "m", "event_id": "x", "frame": "{}", "created_at": LONG_AGO}
        StoredEvent.objects.create(**row | {"seq": seq, "epoch": epoch} | fields)

    store(None)
    store(None, created_at=Now())
    store(1, confirmed_at=Now())
    store(2, leased_until=Now())
    assert [text for status, text in found() if status is Status.WARN] == [
        "1 events are not numbered since 60 s or longer"
    ]
    for seq in (3, 4, 5):
        store(seq, leased_until=LONG_AGO)
    assert [text for status, text in found() if status is Status.WARN][1:] == [
        "2 or more events are not published since 60 s or longer"
    ]
