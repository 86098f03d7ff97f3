"""One event the whole way; through real parts it goes in tests/services/test_doctor.py (docs/doctor.md)."""

import time
from collections.abc import Callable

import pytest

from apps.realtime.core.names import Stream, user_stream
from apps.realtime.management.doctor import way
from apps.realtime.management.doctor.door import Door
from apps.realtime.management.doctor.findings import Status, fail
from apps.realtime.management.doctor.tab import Arrived, Failed, News, Opened
from apps.realtime.management.doctor.way import look_at_way
from apps.realtime.models import StoredEvent
from apps.realtime.publishing.sequencer import number
from apps.realtime.publishing.settlement import Place, confirm
from tests.unit.conftest import MakeUser, RecordingPublisher, Woken

ONE, TWO = Door.at("http://127.0.0.1:9101"), Door.at("http://127.0.0.1:9102")

Found = list[tuple[Status, str]]


def found(user: str | None, *doors: Door) -> Found:
    return [(finding.status, finding.found) for finding in look_at_way(user, doors)]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LINK_SECS", "OPEN_SECS", "ARRIVE_SECS"):
        monkeypatch.setattr(way, name, 0.2)


def test_without_a_user_or_a_node_it_says_how() -> None:
    assert found(None, ONE) == found("alice") == [(Status.SKIP, "no event was sent the whole way")]


@pytest.mark.django_db
def test_a_user_who_does_not_exist_or_may_not_sign_in(make_user: MakeUser) -> None:
    make_user("gone", is_active=False)
    assert found("nobody", ONE) == [(Status.FAIL, "no active user is called 'nobody'")]
    assert found("gone", ONE) == [(Status.FAIL, "no active user is called 'gone'")]


@pytest.fixture
def alice(make_user: MakeUser, published: RecordingPublisher, woken: Woken) -> Stream:
    """Somebody whose events nobody numbers but the test."""
    user = make_user("alice")
    return user_stream(str(user.pk))


def nodes(monkeypatch: pytest.MonkeyPatch, tell: Callable[[Door, News], None]) -> None:
    """Nodes that do as the test says."""
    monkeypatch.setattr(way, "open_tab", lambda door, token, probe, news, within_secs: tell(door, news))


def at_once(door: Door, news: News) -> None:
    news.put(Opened(door, 0.01, 0.0))


def while_waiting(monkeypatch: pytest.MonkeyPatch, stream: Stream, *, confirmed: bool = True) -> None:
    """What the outbox and the broker would do in threads and processes of their own."""

    def work(_: float) -> None:
        events = number([stream])
        if confirmed:
            confirm(map(Place.of, events))

    monkeypatch.setattr(time, "sleep", work)


@pytest.mark.django_db(transaction=True)
def test_every_stage_is_timed(monkeypatch: pytest.MonkeyPatch, alice: Stream) -> None:
    def tell(door: Door, news: News) -> None:
        at_once(door, news)
        news.put(Arrived(door, time.monotonic()))

    nodes(monkeypatch, tell)
    while_waiting(monkeypatch, alice)
    *opened, (status, text) = found("alice", ONE)
    assert opened == [(Status.OK, "http://127.0.0.1:9101 lets 'alice' in after 10 ms")]
    assert status is Status.OK
    for stage in ("stored in", "numbered", "on the socket at http://127.0.0.1:9101 after", "confirm written down"):
        assert stage in text


@pytest.mark.django_db(transaction=True)
def test_what_comes_late_was_not_pushed(monkeypatch: pytest.MonkeyPatch, alice: Stream) -> None:
    def tell(door: Door, news: News) -> None:
        at_once(door, news)
        news.put(Arrived(door, time.monotonic() + 10))

    nodes(monkeypatch, tell)
    while_waiting(monkeypatch, alice)
    *_, (status, text) = found("alice", ONE)
    assert (status, "late, so it was found in the database and not pushed" in text) == (Status.WARN, True)


@pytest.mark.django_db(transaction=True)
def test_one_node_lets_nobody_in_and_the_other_loses_the_event(monkeypatch: pytest.MonkeyPatch, alice: Stream) -> None:
    nodes(monkeypatch, lambda door, news: at_once(door, news) if door == ONE else None)
    while_waiting(monkeypatch, alice, confirmed=False)
    told = [text for status, text in found("alice", ONE, TWO) if status is Status.FAIL]
    assert told == [
        "http://127.0.0.1:9102 lets nobody in, within 0 s",
        "http://127.0.0.1:9101 has the user's tab, but not the event, within 0 s",
        "the broker has not confirmed the event within 0 s",
    ]


@pytest.mark.django_db
def test_nobody_numbers_it(monkeypatch: pytest.MonkeyPatch, alice: Stream) -> None:
    nodes(monkeypatch, at_once)
    *_, (status, text) = found("alice", ONE)
    assert (status, "nobody has given it a number" in text) == (Status.FAIL, True)


@pytest.mark.django_db
def test_where_no_tab_is_open_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, alice: Stream, published: RecordingPublisher
) -> None:
    published.problem = "amqp://mq: refused"
    nodes(monkeypatch, lambda door, news: news.put(Failed(door, fail("closed", "mend"))))
    assert found("alice", ONE) == [
        (Status.FAIL, "this process cannot publish: amqp://mq: refused"),
        (Status.FAIL, "closed"),
    ]
    assert not StoredEvent.objects.exists()


@pytest.mark.django_db
def test_a_node_s_clock_that_is_off_is_said(monkeypatch: pytest.MonkeyPatch, alice: Stream) -> None:
    nodes(monkeypatch, lambda door, news: news.put(Opened(door, 0.01, 60.0)))
    assert (
        Status.FAIL,
        "the clock of http://127.0.0.1:9101 is 60.0 s behind this machine's: fresh tokens are refused beyond 10 s",
    ) in found("alice", ONE)
