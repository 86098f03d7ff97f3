"""What the relay finds, and what it does with it (docs/relay.md)."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils.timezone import now
from prometheus_client import REGISTRY
from pytest_django import DjangoAssertNumQueries, Settings

from apps.realtime import EVERYONE, cancel_scheduled, notification_unseen, notify
from apps.realtime.conf import realtime_settings
from apps.realtime.core.events import Event
from apps.realtime.core.names import Stream
from apps.realtime.models import InboxItem, ScheduledEvent, StoredEvent, Unseen
from apps.realtime.models import Stream as StreamRow
from apps.realtime.node_models import NodeRequest
from apps.realtime.publishing import relay as module
from apps.realtime.publishing.relay import EmbeddedRelay, Relay
from apps.realtime.publishing.sequencer import number
from apps.realtime.publishing.settlement import confirm
from tests.unit.conftest import MakeUser, RecordingPublisher

ALICE, BOB = "user.1", "user.2"
LONG_AGO = timedelta(hours=1)


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def relay(publisher: RecordingPublisher) -> Relay:
    return Relay(realtime_settings(), publisher)


def store(stream: str, seq: int | None = None, **fields: Any) -> StoredEvent:
    epoch = None if seq is None else fields.pop("epoch", "e1")
    frame = f'{{"id":"x","data":null,"stream":"{stream}","mid":"m","ts":1.000}}'
    return StoredEvent.objects.create(stream=stream, epoch=epoch, seq=seq, mid="m", event_id="x", frame=frame, **fields)


def turn(relay: Relay) -> None:
    """One turn, and one more that writes down its outcomes."""
    relay._turn()
    relay._wait(0)
    relay._turn()
    assert relay.problem is None


def take(publisher: RecordingPublisher) -> list[tuple[str, int]]:
    """Where those events stand that were published since the last call."""
    taken = [(str(event.stream), event.seq) for event in publisher.events]
    publisher.events.clear()
    return taken


def unconfirmed() -> list[tuple[str, int | None]]:
    rows = StoredEvent.objects.filter(confirmed_at=None).order_by("stream", "seq")
    return list(rows.values_list("stream", "seq"))


# Numbering ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_a_process_left_without_a_number_is_numbered_published_and_confirmed(
    relay: Relay, publisher: RecordingPublisher
) -> None:
    for stream in (ALICE, ALICE, BOB):
        store(stream, created_at=Now() - LONG_AGO)
    turn(relay)
    assert sorted(take(publisher)) == [(ALICE, 1), (ALICE, 2), (BOB, 1)]
    assert unconfirmed() == []
    assert dict(StreamRow.objects.values_list("name", "head")) == {ALICE: 2, BOB: 1}


@pytest.mark.django_db
def test_what_its_own_process_is_about_to_number_is_left_to_it(relay: Relay, publisher: RecordingPublisher) -> None:
    store(ALICE)
    turn(relay)
    assert take(publisher) == []
    assert unconfirmed() == [(ALICE, None)]


@pytest.mark.django_db
def test_numbering_goes_on_without_a_broker_and_its_return_takes_the_newest_of_each_stream(
    relay: Relay, publisher: RecordingPublisher
) -> None:
    publisher.problem, publisher.answer = "it is away", None
    for _ in range(3):
        store(ALICE, created_at=Now() - LONG_AGO)
    store(BOB, created_at=Now() - LONG_AGO)
    turn(relay)
    assert dict(StreamRow.objects.values_list("name", "head")) == {ALICE: 3, BOB: 1}
    # One event, which waits for the broker.
    [probe] = take(publisher)
    turn(relay)
    assert take(publisher) == []
    publisher.problem, publisher.answer = None, True
    [(event, settled)] = publisher.unanswered
    settled(event, True)
    relay._wait(0)
    turn(relay)
    assert sorted([probe, *take(publisher)]) == [(ALICE, 3), (BOB, 1)]
    assert unconfirmed() == []


# Leases ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_only_leases_that_have_run_out_or_were_given_back_are_taken(
    relay: Relay, publisher: RecordingPublisher
) -> None:
    for name in ("a", "b", "c", "d"):
        StreamRow.objects.create(name=name, epoch="e1", head=1)
    store("a", 1, leased_until=Now() + LONG_AGO)
    store("b", 1, leased_until=Now() - LONG_AGO)
    store("c", 1, leased_until=None)
    store("d", 1, leased_until=None, confirmed_at=Now())
    turn(relay)
    assert sorted(take(publisher)) == [("b", 1), ("c", 1)]
    assert unconfirmed() == [("a", 1)]


@pytest.mark.django_db
def test_the_newest_stands_for_those_before_it_but_not_for_what_somebody_is_publishing(
    relay: Relay, publisher: RecordingPublisher
) -> None:
    StreamRow.objects.create(name=ALICE, epoch="e1", head=6)
    for seq in range(1, 6):
        store(ALICE, seq, leased_until=Now() + LONG_AGO if seq == 2 else None)
    store(ALICE, 6, leased_until=Now() + LONG_AGO)
    relay._turn()
    assert take(publisher) == [(ALICE, 5)]
    assert StoredEvent.objects.get(seq=5).leased_until is not None
    relay._wait(0)
    turn(relay)
    assert take(publisher) == []
    assert unconfirmed() == [(ALICE, 2), (ALICE, 6)]


@pytest.mark.django_db
def test_an_event_of_a_numbering_that_has_ended_is_shown_to_nobody(relay: Relay, publisher: RecordingPublisher) -> None:
    StreamRow.objects.create(name=ALICE, epoch="e2", head=1)
    store(ALICE, 1, epoch="e1")
    store(ALICE, 2, epoch="e1", leased_until=Now() + LONG_AGO)
    store(BOB, 1, epoch="e1")
    store(ALICE, 1, epoch="e2")
    turn(relay)
    assert take(publisher) == [(ALICE, 1)]
    assert unconfirmed() == [(ALICE, 2)]


@pytest.mark.django_db
def test_what_was_not_confirmed_is_tried_again(relay: Relay, publisher: RecordingPublisher) -> None:
    StreamRow.objects.create(name=ALICE, epoch="e1", head=2)
    store(ALICE, 1)
    store(ALICE, 2)
    publisher.answer = False
    relay._turn()
    relay._wait(0)
    assert take(publisher) == [(ALICE, 2)]
    StoredEvent.objects.update(leased_until=None)
    relay._turn()
    publisher.answer = True
    assert take(publisher) == [(ALICE, 2)]
    relay._wait(0)
    relay._settle()
    StoredEvent.objects.update(leased_until=None)
    turn(relay)
    assert take(publisher) == [(ALICE, 2)]
    assert unconfirmed() == []


@pytest.mark.django_db
def test_an_event_whose_outcome_is_open_keeps_its_stream_from_being_taken_again(
    relay: Relay, publisher: RecordingPublisher
) -> None:
    StreamRow.objects.create(name=ALICE, epoch="e1", head=2)
    store(ALICE, 1)
    store(ALICE, 2)
    publisher.answer = None
    relay._turn()
    # Its lease runs out while it waits in the publisher's buffer.
    StoredEvent.objects.update(leased_until=None)
    turn(relay)
    assert take(publisher) == [(ALICE, 2)]


@pytest.mark.django_db
def test_many_streams_go_in_batches_and_never_more_than_the_publisher_holds(
    publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STREAMS_A_BATCH", 3)
    monkeypatch.setattr(module, "MAX_IN_FLIGHT", 4)
    publisher.answer = None
    for name in range(10):
        StreamRow.objects.create(name=f"s{name}", epoch="e1", head=1)
        store(f"s{name}", 1)
    relay = Relay(realtime_settings(), publisher)
    assert [relay._turn(), len(take(publisher))] == [True, 3]
    assert [relay._turn(), len(take(publisher))] == [True, 1]
    assert [relay._turn(), len(take(publisher))] == [True, 0]
    for event, settled in publisher.unanswered:
        settled(event, True)
    publisher.answer = True
    assert relay.run_once(10) is None
    assert unconfirmed() == []


@pytest.mark.django_db
def test_an_idle_turn_costs_three_queries(relay: Relay, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    relay._forget_at = float("inf")  # once a minute
    with django_assert_num_queries(8):
        relay._turn()
    # Three of them look for what to trim, once a second, and two count what waits, every 5 s.
    with django_assert_num_queries(3):
        relay._turn()


@pytest.mark.django_db
def test_it_fires_what_is_due(relay: Relay, publisher: RecordingPublisher) -> None:
    handle = notify(EVERYONE, "x", at=now() - LONG_AGO)
    relay._turn()
    assert cancel_scheduled(handle) is False
    # The outbox would number it, but not beside a database in memory.
    StoredEvent.objects.update(created_at=Now() - LONG_AGO)
    turn(relay)
    assert take(publisher) == [("all", 1)]


@pytest.mark.django_db
def test_what_can_never_be_stored_is_no_problem_of_the_relay(relay: Relay) -> None:
    notify(EVERYONE, "x", at=now() - LONG_AGO)
    ScheduledEvent.objects.update(event_id="AUTH OK")
    turn(relay)
    ScheduledEvent.objects.update(failed_at=Now() - timedelta(days=8))
    relay._forget_at = 0
    turn(relay)
    assert not ScheduledEvent.objects.exists()


@pytest.mark.django_db
def test_a_backlog_of_history_keeps_no_inbox_from_being_pruned(
    relay: Relay, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(make_user(), "x", title="old")
    InboxItem.objects.update(created_at=Now() - timedelta(days=10_000))
    monkeypatch.setattr(relay._pruner, "turn", lambda: True)
    assert relay._turn() is True
    assert not InboxItem.objects.exists()


@pytest.mark.django_db
def test_once_tells_of_what_is_unseen(
    publisher: RecordingPublisher, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REALTIME_UNSEEN_AFTER_SECS = 900.0
    told: list[str] = []

    def receive(items: list[InboxItem], **kwargs: Any) -> None:
        told.extend(item.title for item in items)

    notify(make_user(), "x", title="unseen")
    number([Stream(Unseen.objects.get().stream)])
    StoredEvent.objects.update(confirmed_at=Now())
    Unseen.objects.update(due_at=Now())
    relay = Relay(realtime_settings(), publisher)
    notification_unseen.connect(receive)
    try:
        assert (relay.run_once(10), told) == (None, ["unseen"])
    finally:
        notification_unseen.disconnect(receive)

    def away() -> bool:
        raise OperationalError("away")

    monkeypatch.setattr(relay._unseen, "turn", away)
    assert relay.run_once(10) == "unseen notifications: OperationalError: away"
    monkeypatch.setattr(relay._unseen, "turn", lambda: True)
    assert relay.run_once(0.3) == "some unseen notifications are not told"


@pytest.mark.django_db
def test_it_trims(publisher: RecordingPublisher) -> None:
    StreamRow.objects.create(name=ALICE, epoch="e1", head=3)
    for seq in (1, 2, 3):
        store(ALICE, seq, confirmed_at=Now())
    assert Relay(replace(realtime_settings(), history_max_events=1), publisher).run_once(10) is None
    assert [event.seq for event in StoredEvent.objects.all()] == [3]
    assert StreamRow.objects.get().floor == 2


# Faults ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_step_that_fails_keeps_none_of_the_others_and_is_logged_once(
    relay: Relay, publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=module.__name__)
    StreamRow.objects.create(name=ALICE, epoch="e1", head=1)
    store(ALICE, 1)
    store(BOB, created_at=Now() - LONG_AGO)

    def broken(streams: list[Stream]) -> list[Event]:
        raise OperationalError("the database\nis tired")

    monkeypatch.setattr(module, "number", broken)
    relay._turn()
    relay._wait(0)
    relay._turn()
    assert relay.problem == "OperationalError: the database is tired"
    assert take(publisher) == [(ALICE, 1)]
    monkeypatch.setattr(module, "number", number)
    turn(relay)
    assert take(publisher) == [(BOB, 1)]
    assert [record.getMessage() for record in caplog.records] == [
        "The relay is stuck: OperationalError: the database is tired. Trying again",
        "The relay works again",
    ]


@pytest.mark.django_db
def test_outcomes_wait_for_the_database(
    relay: Relay, publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    StreamRow.objects.create(name=ALICE, epoch="e1", head=1)
    store(ALICE, 1)
    relay._turn()
    relay._wait(0)

    def broken(places: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(module, "confirm", broken)
    relay._turn()
    assert unconfirmed() == [(ALICE, 1)]
    monkeypatch.setattr(module, "confirm", confirm)
    relay._turn()
    assert unconfirmed() == []


@pytest.mark.django_db
def test_once_says_what_keeps_it(publisher: RecordingPublisher) -> None:
    StreamRow.objects.create(name=ALICE, epoch="e1", head=1)
    store(ALICE, 1)
    publisher.problem, publisher.answer = "the broker is away", False
    assert Relay(realtime_settings(), publisher).run_once(0.2) == "the broker is away"
    assert unconfirmed() == [(ALICE, 1)]


@pytest.mark.django_db
def test_once_needs_no_broker_where_nothing_is_left(publisher: RecordingPublisher) -> None:
    publisher.problem = "the broker is away"
    assert Relay(realtime_settings(), publisher).run_once(10) is None


@pytest.mark.django_db
def test_a_publisher_that_refuses_everything_is_not_asked_without_end(publisher: RecordingPublisher) -> None:
    for name in ("a", "b", "c"):
        StreamRow.objects.create(name=name, epoch="e1", head=1)
        store(name, 1)
    publisher.problem, publisher.answer = "no server", False
    relay = Relay(realtime_settings(), publisher)
    assert relay._turn() is False
    assert len(publisher.events) == 1


# The loop ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_it_forgets_what_nodes_were_asked_once_a_minute(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        NodeRequest.objects.create(kind="sessions", created_at=Now() - LONG_AGO)
        turn(relay)
    assert NodeRequest.objects.count() == 1
    monkeypatch.setattr(module, "FORGET_EVERY_SECS", 0)
    relay._forget_at = 0
    turn(relay)
    assert not NodeRequest.objects.exists()


class Turns:
    """Stands in for the database's part of a relay, in a thread."""

    def __init__(self, relay: Relay, monkeypatch: pytest.MonkeyPatch, fail: bool = False) -> None:
        self.count = 0
        self.fail = fail
        self._changed = threading.Condition()

        def turn() -> bool:
            with self._changed:
                self.count += 1
                self._changed.notify_all()
            if self.fail:
                relay.problem = "away"
            return False

        monkeypatch.setattr(relay, "_turn", turn)

    def reach(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, 10), f"{self.count} turns of {count}"


def test_embedded_it_runs_until_it_is_closed(publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay(realtime_settings(), publisher, every_secs=0.01)
    turns = Turns(relay, monkeypatch)
    embedded = EmbeddedRelay(relay)
    embedded.start()
    turns.reach(3)
    embedded.close()
    assert "message-flow-relay" not in [thread.name for thread in threading.enumerate()]
    done = turns.count
    embedded.close()
    assert turns.count == done


def test_a_stop_interrupts_its_rest_at_once(publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay(realtime_settings(), publisher, every_secs=60)
    turns = Turns(relay, monkeypatch)
    embedded = EmbeddedRelay(relay)
    embedded.start()
    turns.reach(1)
    began = time.monotonic()
    embedded.close()
    assert time.monotonic() - began < 5


def test_it_goes_on_after_a_failure_and_not_in_a_hurry(
    publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(realtime_settings(), publisher, every_secs=60)
    turns = Turns(relay, monkeypatch, fail=True)
    embedded = EmbeddedRelay(relay)
    began = time.monotonic()
    embedded.start()
    turns.reach(3)
    assert time.monotonic() - began > 0.3
    embedded.close()


@pytest.mark.django_db
def test_it_shows_life_before_each_step_also_when_they_fail(
    publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs: list[str] = []
    relay = Relay(realtime_settings(), publisher, alive=lambda: signs.append("alive"))

    def number() -> bool:
        signs.append("number")
        raise OperationalError

    monkeypatch.setattr(relay, "_number", number)
    relay._turn()
    assert relay.problem is not None
    assert signs == ["alive"] * 3 + ["number"] + ["alive"] * 4


def test_at_the_end_it_waits_for_what_is_on_the_wire(
    publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[Event, bool]] = []
    relay = Relay(realtime_settings(), publisher)
    monkeypatch.setattr(relay, "_settle", lambda: written.extend(relay._outcomes))
    event = Event(Stream(ALICE), "x", "{}", 2, "m", "e1", 1)
    publisher.answer = None
    relay._publish([event])
    answer: Callable[[], None] = lambda: publisher.unanswered[0][1](event, True)  # noqa: E731
    timer = threading.Timer(0.1, answer)
    timer.start()
    relay.stop()
    relay.run()
    timer.join()
    assert written == [(event, True)]


@pytest.mark.django_db
def test_it_shows_when_it_last_worked_and_what_waits(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned_at() -> float:
        return REGISTRY.get_sample_value("realtime_relay_last_turn_timestamp_seconds") or 0.0

    store(ALICE)
    began = time.time()
    relay._turn()
    assert turned_at() >= began
    assert REGISTRY.get_sample_value("realtime_backlog_events", {"stage": "unnumbered"}) == 1

    def fails() -> bool:
        raise OperationalError

    monkeypatch.setattr(relay, "_take", fails)
    before = turned_at()
    relay._turn()
    assert turned_at() == before
