"""`notify` in and out of transactions, in sync and async code (docs/publishing.md)."""

import json
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from apps.realtime import EVERYONE, BadEvent, BadRecipient, Topic, UnknownTopic, anotify, notify
from apps.realtime.core.events import FRAME_MAX_BYTES
from apps.realtime.models import StoredEvent
from apps.realtime.topics import TopicRegistry
from tests.unit.conftest import MakeUser, Woken


def stored() -> list[tuple[str, str]]:
    return list(StoredEvent.objects.order_by("id").values_list("stream", "event_id"))


def notify_and_fail(user: Any, event_id: str) -> None:
    notify(user, event_id)
    raise ZeroDivisionError


@pytest.mark.django_db(transaction=True)
def test_it_stores_a_row_and_wakes_the_outbox(woken: Woken, make_user: MakeUser) -> None:
    user = make_user()
    notify(user, "invoice/PAID", {"invoice": 5}, title="Paid: \u2028 »5«", url="/invoices/5/")
    row = StoredEvent.objects.get()
    frame = json.loads(row.frame)
    assert frame == {
        "id": "invoice/PAID",
        "data": {"invoice": 5},
        "title": "Paid: \u2028 »5«",
        "url": "/invoices/5/",
        "stream": f"user.{user.pk}",
        "mid": row.mid,
        "ts": frame["ts"],
    }
    assert abs(frame["ts"] - time.time()) < 60
    assert abs(row.created_at.timestamp() - time.time()) < 60
    assert (row.stream, row.event_id) == (f"user.{user.pk}", "invoice/PAID")
    assert (row.epoch, row.seq, row.leased_until, row.confirmed_at) == (None, None, None, None)
    assert woken == [[f"user.{user.pk}"]]


@pytest.mark.django_db(transaction=True)
def test_each_recipient_gets_a_row_of_its_own(woken: Woken, make_user: MakeUser, topics: TopicRegistry) -> None:
    user = make_user()
    notify([user, Topic("news"), EVERYONE, user.pk], "x")
    streams = [f"user.{user.pk}", "topic.news", "all"]
    assert stored() == [(stream, "x") for stream in streams]
    assert woken == [streams]
    assert len(set(StoredEvent.objects.values_list("mid", flat=True))) == 3


@pytest.mark.django_db(transaction=True)
def test_nobody_is_no_row_and_no_work(woken: Woken) -> None:
    notify([], "x")
    notify(User.objects.none(), "x")
    assert (stored(), woken) == ([], [])


@pytest.mark.django_db(transaction=True)
def test_bad_input_is_refused_at_the_call_and_nothing_is_stored_half(
    woken: Woken, make_user: MakeUser, topics: TopicRegistry
) -> None:
    user = make_user()
    bad: list[tuple[type[Exception], str, Any, Any, Any]] = [
        (BadEvent, "reserved", user, "AUTH OK", None),
        (BadEvent, "not empty", user, "", None),
        (BadEvent, "no JSON", user, "x", object()),
        (BadEvent, "no JSON", [user, EVERYONE], "x", float("nan")),
        (BadEvent, "262", user, "x", "y" * FRAME_MAX_BYTES),
        (BadRecipient, "None", [user, None], "x", None),
        (BadRecipient, "987654321", [user, 987654321], "x", None),
        (BadRecipient, "'nobody'", [user, "nobody"], "x", None),
        (UnknownTopic, "nope", [user, Topic("nope")], "x", None),
    ]
    for kind, told, to, event_id, data in bad:
        with pytest.raises(kind, match=told):
            notify(to, event_id, data)
    for wrong in (7, "\ud800"):
        with pytest.raises(BadEvent, match="title"):
            notify(user, "x", title=wrong)  # type: ignore[arg-type]
        with pytest.raises(BadEvent, match="url"):
            notify(user, "x", url=wrong)  # type: ignore[arg-type]
    assert (stored(), woken) == ([], [])


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_it_leaves_after_the_commit(woken: Woken, make_user: MakeUser) -> None:
    user = make_user()
    with transaction.atomic():
        notify(user, "first")
        with transaction.atomic():
            notify(EVERYONE, "second")
        assert woken == []
    assert woken == [[f"user.{user.pk}"], ["all"]]
    assert [event_id for _, event_id in stored()] == ["first", "second"]


@pytest.mark.django_db(transaction=True)
def test_a_rollback_leaves_nothing(woken: Woken) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        notify_and_fail(EVERYONE, "x")
    assert (stored(), woken) == ([], [])


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_takes_back_its_own(woken: Woken, make_user: MakeUser) -> None:
    user = make_user()
    with transaction.atomic():
        notify(EVERYONE, "kept")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            notify_and_fail(user, "lost")
    assert stored() == [("all", "kept")]
    assert woken == [["all"]]


@pytest.mark.django_db(transaction=True)
def test_a_user_of_the_same_transaction_exists(woken: Woken, make_user: MakeUser) -> None:
    with transaction.atomic():
        user = make_user()
        notify(user.pk, "welcome")
        notify(str(user.pk), "welcome")
    assert stored() == [(f"user.{user.pk}", "welcome")] * 2


@pytest.mark.django_db(transaction=True)
def test_another_database_is_refused_with_the_reason(woken: Woken) -> None:
    with pytest.raises(ValueError, match=r"using='other'.*REALTIME_DATABASE = 'default'"):
        notify(EVERYONE, "x", using="other")
    notify(EVERYONE, "x", using="default")
    assert stored() == [("all", "x")]


@pytest.mark.django_db(transaction=True)
async def test_in_async_code_it_is_anotify(woken: Woken) -> None:
    with pytest.raises(SynchronousOnlyOperation, match="await anotify"):
        notify(EVERYONE, "x")
    with pytest.raises(SynchronousOnlyOperation, match="await anotify"):
        notify(object(), "AUTH OK")  # before anything else is looked at
    await anotify(EVERYONE, "y", {"n": 1}, title="t", url="/u/", using="default")
    [row] = [row async for row in StoredEvent.objects.all()]
    assert json.loads(row.frame)["title"] == "t"
    assert woken == [["all"]]


@pytest.mark.django_db(transaction=True)
def test_ten_thousand_recipients_are_one_call(woken: Woken) -> None:
    """Their events are encoded once. The bound is far above what it takes, 0.3 s, and far below one INSERT each."""
    User.objects.bulk_create([User(username=f"user{number}", password="!") for number in range(10_000)])
    users = list(User.objects.all())
    before = time.process_time()
    notify(users, "many/EVENT", {"text": "x" * 1_000})
    assert time.process_time() - before < 3.0
    assert StoredEvent.objects.count() == 10_000
    assert [len(streams) for streams in woken] == [10_000]
