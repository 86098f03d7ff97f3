"""Events whose time has not come, and the relay's part when it has (docs/scheduled.md)."""

import json
import logging
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DataError, OperationalError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from apps.realtime import (
    EVERYONE,
    BadEvent,
    BadRecipient,
    Topic,
    UnknownTopic,
    acancel_scheduled,
    anotify,
    cancel_scheduled,
    metrics,
    notify,
)
from apps.realtime.core.events import FRAME_MAX_BYTES
from apps.realtime.core.names import Stream
from apps.realtime.models import ScheduledEvent, StoredEvent
from apps.realtime.publishing import scheduled as module
from apps.realtime.publishing.scheduled import fire_due, forget_set_aside
from apps.realtime.publishing.store import store
from apps.realtime.topics import TopicRegistry
from tests.unit.conftest import MakeUser, Woken

HOUR = timedelta(hours=1)


def stored() -> list[tuple[str, str]]:
    return list(StoredEvent.objects.order_by("id").values_list("stream", "event_id"))


def pass_time(time: timedelta = 2 * HOUR) -> None:
    """For what is scheduled now."""
    for row in ScheduledEvent.objects.all():
        row.due_at -= time
        row.save()


# The call ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_it_becomes_the_event_that_notify_would_have_stored(
    woken: Woken, make_user: MakeUser, topics: TopicRegistry
) -> None:
    user = make_user()
    to, data = [user, Topic("news"), EVERYONE], {"at": datetime(2026, 1, 2, tzinfo=UTC), "text": "ü\u2028\U0001f600\0"}
    notify(to, "invoice/DUE", data, title="Due: »5«", url="/invoices/5/")
    [now_woken] = woken
    expected = [frame_without_marks(row) for row in StoredEvent.objects.order_by("id")]
    StoredEvent.objects.all().delete()
    notify(to, "invoice/DUE", data, title="Due: »5«", url="/invoices/5/", at=now() + HOUR)
    assert (fire_due(), stored(), woken) == (False, [], [now_woken])
    pass_time()
    assert (fire_due(), fire_due()) == (False, False)
    assert [frame_without_marks(row) for row in StoredEvent.objects.order_by("id")] == expected
    assert woken == [now_woken, now_woken]
    row = StoredEvent.objects.latest("id")
    assert abs(json.loads(row.frame)["ts"] - now().timestamp()) < 60
    assert not ScheduledEvent.objects.exists()


def frame_without_marks(row: StoredEvent) -> tuple[str, str, dict[str, Any]]:
    frame = json.loads(row.frame)
    assert (frame.pop("mid"), frame.pop("stream")) == (row.mid, row.stream)
    del frame["ts"]
    return row.stream, row.event_id, frame


@pytest.mark.django_db
@pytest.mark.parametrize("at", [now() - HOUR, datetime(1, 1, 2, tzinfo=UTC), now()], ids=["past", "ancient", "now"])
def test_a_time_that_has_passed_is_fired_at_once(at: datetime) -> None:
    handle = notify(EVERYONE, "x", at=at)
    fire_due()
    assert stored() == [("all", "x")]
    assert not cancel_scheduled(handle)


@pytest.mark.django_db
def test_a_time_of_any_zone_is_that_moment() -> None:
    moment = now() + HOUR
    for zone in (UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))):
        notify(EVERYONE, "x", at=moment.astimezone(zone))
    assert set(ScheduledEvent.objects.values_list("due_at", flat=True)) == {moment}


@pytest.mark.django_db
def test_the_site_needs_no_time_zones_of_its_own() -> None:
    with override_settings(USE_TZ=False):
        notify(EVERYONE, "later", at=datetime.now(UTC) + timedelta(minutes=1))
        notify(EVERYONE, "earlier", at=datetime.now(UTC) - timedelta(minutes=1))
        fire_due()
        assert stored() == [("all", "earlier")]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "at",
    [
        datetime(2100, 1, 1),  # noqa: DTZ001 - that is the mistake
        date(2100, 1, 1),
        4102444800,
        "2100-01-01T00:00:00Z",
        datetime.max.replace(tzinfo=timezone(-HOUR)),
    ],
)
def test_what_is_no_moment_is_refused(at: Any) -> None:
    with pytest.raises(BadEvent, match="time zone"):
        notify(EVERYONE, "x", at=at)
    assert not ScheduledEvent.objects.exists()


@pytest.mark.django_db
def test_everything_is_refused_at_the_call(topics: TopicRegistry) -> None:
    at = now() + HOUR
    with pytest.raises(BadEvent, match="reserved"):
        notify(EVERYONE, "AUTH OK", at=at)
    with pytest.raises(BadEvent, match="no JSON"):
        notify(EVERYONE, "x", {"set": set()}, at=at)
    with pytest.raises(BadEvent, match="262"):
        # Not by itself: with the name of its stream.
        notify(Topic("order-" + "x" * 150), "x", "y" * (FRAME_MAX_BYTES - 200), at=at)
    with pytest.raises(BadRecipient):
        notify(404, "x", at=at)
    with pytest.raises(UnknownTopic):
        notify(Topic("weather"), "x", at=at)
    with pytest.raises(ValueError, match="REALTIME_DATABASE"):
        notify(EVERYONE, "x", at=at, using="elsewhere")
    assert not ScheduledEvent.objects.exists()


@pytest.mark.django_db
def test_nobody_is_nothing() -> None:
    handle = notify([], "x", at=now() - HOUR)
    assert fire_due() is False
    assert (stored(), cancel_scheduled(handle)) == ([], False)


@pytest.mark.django_db(transaction=True)
async def test_it_is_the_same_call_in_async_code() -> None:
    handle = await anotify(EVERYONE, "x", at=now() + HOUR)
    with pytest.raises(SynchronousOnlyOperation, match="acancel_scheduled"):
        cancel_scheduled(handle)
    assert [await acancel_scheduled(handle), await acancel_scheduled(handle)] == [True, False]


# Cancelling --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_is_cancelled_is_not_fired() -> None:
    handles = [notify(EVERYONE, event_id, at=now() + HOUR) for event_id in ("a", "b")]
    assert len(set(handles)) == 2
    assert cancel_scheduled(handles[0]) is True
    pass_time()
    fire_due()
    assert stored() == [("all", "b")]
    assert [cancel_scheduled(handle) for handle in handles] == [False, False]


@pytest.mark.django_db
@pytest.mark.parametrize("handle", ["", "0" * 32, "\0", "%", "1' OR '1'='1", "x" * 100_000])
def test_a_handle_that_nobody_gave_out_cancels_nothing(handle: str) -> None:
    notify(EVERYONE, "x", at=now() + HOUR)
    assert cancel_scheduled(handle) is False
    assert ScheduledEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_both_belong_to_the_transaction_of_the_caller() -> None:
    def schedule_cancel_and_fail() -> None:
        with transaction.atomic():
            notify(EVERYONE, "undone", at=now() + HOUR)
            cancel_scheduled(handle)
            raise ZeroDivisionError

    handle = notify(EVERYONE, "kept", at=now() + HOUR)
    with pytest.raises(ZeroDivisionError):
        schedule_cancel_and_fail()
    assert [row.event_id for row in ScheduledEvent.objects.all()] == ["kept"]
    with transaction.atomic():
        assert cancel_scheduled(notify(EVERYONE, "x", at=now())) is True
    assert cancel_scheduled(handle) is True


# Firing ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_oldest_goes_first() -> None:
    for minutes in (1, 3, 2, 3):
        notify(EVERYONE, f"{minutes} ago", at=now() - timedelta(minutes=minutes))
    fire_due()
    assert [event_id for _, event_id in stored()] == ["3 ago", "3 ago", "2 ago", "1 ago"]


@pytest.mark.django_db
def test_whoever_is_gone_is_left_out(make_user: MakeUser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=module.__name__)
    alice, bob = make_user("alice"), make_user("bob")
    notify([alice, bob, EVERYONE], "x", at=now() - HOUR)
    notify([alice], "y", at=now() - HOUR)
    gone = alice.pk
    alice.delete()
    # The key of a user model that the project had before.
    row = ScheduledEvent.objects.earliest("id")
    row.targets.append(["user.abc", "abc"])
    row.save()
    assert fire_due() is False
    assert stored() == [(f"user.{bob.pk}", "x"), ("all", "x")]
    assert not StoredEvent.objects.filter(stream=f"user.{gone}").exists()
    assert [record.getMessage().partition(" skips ")[2] for record in caplog.records] == [
        "2 users who are gone",
        "1 users who are gone",
    ]
    assert not ScheduledEvent.objects.exists()


@pytest.mark.django_db
def test_many_are_fired_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_A_BATCH", 3)
    for number in range(7):
        notify(EVERYONE, f"{number}", at=now() - HOUR)
    assert [(fire_due(), StoredEvent.objects.count()) for _ in range(3)] == [(True, 3), (True, 6), (False, 7)]
    for _ in range(2):
        notify(EVERYONE, "late", at=now() - HOUR)
    # No time: one at least.
    monkeypatch.setattr(module, "BATCH_SECS", 0.0)
    assert (fire_due(), fire_due(), StoredEvent.objects.count()) == (True, False, 9)


def half(error: Exception) -> Any:
    """A `store` that raises after it has stored what is called broken."""

    def store_and_raise(template: Any, targets: Any) -> None:
        store(template, targets)
        if template.event_id == "broken":
            raise error

    return store_and_raise


@pytest.mark.django_db
def test_one_that_the_database_refuses_stays_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for event_id in ("a", "broken", "b"):
        notify(EVERYONE, event_id, at=now() - HOUR)
    monkeypatch.setattr(module, "store", half(OperationalError("half of it is stored")))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"scheduled event cannot .*half of it"):
            fire_due()
        assert stored() == [("all", "a"), ("all", "b")]
    monkeypatch.setattr(module, "store", store)
    fire_due()
    assert stored() == [("all", "a"), ("all", "b"), ("all", "broken")]


@pytest.mark.django_db
@pytest.mark.parametrize("error", [BadEvent("too\nlarge"), ZeroDivisionError(), DataError()], ids=repr)
def test_what_no_retry_can_cure_is_set_aside_whole(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notify(EVERYONE, "a", at=now() - HOUR)
    handle = notify(EVERYONE, "broken", at=now() - HOUR)
    row = ScheduledEvent.objects.get(handle=handle)
    monkeypatch.setattr(module, "store", half(error))
    failed = metrics.SCHEDULED_FAILED._value.get
    before = failed()
    assert (fire_due(), fire_due()) == (False, False)
    assert (stored(), failed() - before) == ([("all", "a")], 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"The scheduled event {row.pk} cannot be stored and is set aside: {error!r}"
    ]
    fire_due()
    assert metrics.SCHEDULED_LATE._value.get() == 0
    # Once its cause is gone, somebody may give it another try.
    monkeypatch.setattr(module, "store", store)
    ScheduledEvent.objects.update(failed_at=None)
    fire_due()
    assert stored() == [("all", "a"), ("all", "broken")]


@pytest.mark.django_db
def test_a_batch_of_ids_that_became_reserved_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_A_BATCH", 2)
    handles = [notify(EVERYONE, "x", at=now() - 2 * HOUR) for _ in range(2)]
    ScheduledEvent.objects.update(event_id="AUTH OK")
    notify(EVERYONE, "later", at=now() - HOUR)
    assert (fire_due(), fire_due(), stored()) == (True, False, [("all", "later")])
    assert [cancel_scheduled(handle) for handle in handles] == [True, True]


@pytest.mark.django_db
def test_what_was_set_aside_is_kept_for_some_time() -> None:
    for event_id, ago in (("old", 3 * HOUR), ("young", HOUR)):
        notify(EVERYONE, event_id, at=now() - 4 * HOUR)
        ScheduledEvent.objects.filter(event_id=event_id).update(failed_at=now() - ago)
    notify(EVERYONE, "due", at=now() - 4 * HOUR)
    forget_set_aside(2 * HOUR)
    assert set(ScheduledEvent.objects.values_list("event_id", flat=True)) == {"young", "due"}


@pytest.mark.django_db
def test_it_tells_how_late_the_oldest_is() -> None:
    late = metrics.SCHEDULED_LATE._value.get
    notify(EVERYONE, "x", at=now() + HOUR)
    fire_due()
    assert late() == 0
    notify(EVERYONE, "x", at=now() - HOUR)
    fire_due()
    assert late() == pytest.approx(3600, abs=60)
    fire_due()
    assert late() == 0


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_users() -> None:
    notify(EVERYONE, "x", at=now() + HOUR)
    with CaptureQueriesContext(connection) as idle:
        fire_due()
    assert len(idle) == 1
    users = User.objects.bulk_create(User(username=f"user-{number}") for number in range(52))
    counts = []
    for some in (users[:2], users[2:]):
        notify(some, "x", at=now() - HOUR)
        with CaptureQueriesContext(connection) as queries:
            fire_due()
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12
    assert StoredEvent.objects.count() == 52


@pytest.mark.django_db
def test_a_stream_may_be_named_by_a_digest(make_user: MakeUser) -> None:
    user = make_user()
    row = ScheduledEvent(handle="a" * 32, due_at=now() - HOUR, event_id="x", data="1")
    row.targets = [[Stream("user.~digest"), str(user.pk)]]
    row.save()
    fire_due()
    assert stored() == [("user.~digest", "x")]
