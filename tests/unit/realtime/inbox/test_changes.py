"""Read, unread, undo, hide, mute: one's own items, and an event for every change (docs/inbox.md)."""

import json
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from apps.realtime import BadEvent, notify
from apps.realtime.inbox import changes
from apps.realtime.inbox.listing import unread
from apps.realtime.models import Acknowledged, InboxItem, InboxMute, StoredEvent
from apps.realtime.publishing.targets import Target

from .conftest import Notified

pytestmark = pytest.mark.django_db


def told() -> list[dict[str, Any]]:
    """What the tabs were told of changes, and forget it."""
    rows = StoredEvent.objects.filter(event_id="inbox/CHANGED").order_by("id")
    found = [(row.stream, json.loads(row.frame)["data"]) for row in rows]
    rows.delete()
    assert len({stream for stream, _ in found}) <= 1
    return [{name: value for name, value in data.items() if value} for _, data in found]


def test_items_are_read_and_unread_again(mine: Target, notified: Notified) -> None:
    mids = notified(mine, 3)
    assert changes.read(mine, mids[:2]) is not None
    assert (unread(mine.stream), told()) == (1, [{"read": [mids[1], mids[0]]}])
    changes.unread(mine, [mids[0]])
    assert (unread(mine.stream), told()) == (2, [{"unread": [mids[0]]}])


def test_undo_takes_back_what_that_call_has_read_and_nothing_else(mine: Target, notified: Notified) -> None:
    mids = notified(mine, 4)
    changes.read(mine, [mids[0]])
    first = changes.read_up_to(mine, mids[2])
    second = changes.read_all(mine)
    assert first is not None
    assert second is not None
    assert (unread(mine.stream), told()[1:]) == (0, [{"read": [mids[2], mids[1]]}, {"read": [mids[3]]}])
    changes.undo(mine, first)
    assert (unread(mine.stream), told()) == (2, [{"unread": [mids[2], mids[1]]}])
    changes.undo(mine, first)
    assert told() == []
    changes.undo(mine, second)
    assert (unread(mine.stream), told()) == (3, [{"unread": [mids[3]]}])


def test_undo_works_without_time_zones(mine: Target, notified: Notified, settings: Settings) -> None:
    settings.USE_TZ = False
    notified(mine, 2)
    token = changes.read_all(mine)
    assert token is not None
    changes.undo(mine, token)
    assert unread(mine.stream) == 2


def test_hidden_items_are_neither_listed_nor_counted_nor_changed(mine: Target, notified: Notified) -> None:
    mids = notified(mine, 2)
    changes.hide(mine, [mids[0]])
    assert (unread(mine.stream), told()) == (1, [{"hidden": [mids[0]]}])
    assert changes.read(mine, [mids[0]]) is None
    changes.hide(mine, [mids[0]])
    changes.unread(mine, [mids[0]])
    assert told() == []


def test_what_changes_nothing_is_not_told(mine: Target, notified: Notified) -> None:
    mids = notified(mine, 1)
    changes.unread(mine, mids)
    assert changes.read(mine, mids) is not None
    told()
    assert changes.read(mine, mids) is None
    assert changes.read_up_to(mine, mids[0]) is None
    assert changes.read_all(mine) is None
    assert told() == []


@pytest.mark.parametrize("handle", ["", "x", "\0", "0" * 32, "all", "99999999999999999999", "00000000000000000000"])
def test_unknown_handles_change_nothing(mine: Target, notified: Notified, handle: str) -> None:
    notified(mine, 1)
    assert changes.read(mine, [handle]) is None
    assert changes.read_up_to(mine, handle) is None
    changes.hide(mine, [handle])
    changes.unread(mine, [handle])
    changes.undo(mine, handle)
    assert (unread(mine.stream), told()) == (1, [])


def test_another_user_s_handles_are_unknown(mine: Target, others: Target, notified: Notified) -> None:
    notified(mine, 1)
    foreign = notified(others, 2)
    newer = notified(mine, 1)
    assert changes.read(mine, foreign) is None
    assert changes.read_up_to(mine, foreign[1]) is None
    changes.hide(mine, foreign)
    token = changes.read_all(others)
    assert token is not None
    changes.undo(mine, token)
    changes.unread(mine, foreign)
    assert (unread(mine.stream), unread(others.stream)) == (2, 0)
    # Mixed with one's own, only these count.
    assert changes.read(mine, [*foreign, *newer]) is not None
    assert unread(mine.stream) == 1


def test_all_read_of_many_says_that_there_are_more(
    mine: Target, notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_IDS_PER_UPDATE", 50)
    notified(mine, 101)
    changes.read_all(mine)
    [change] = told()
    assert (unread(mine.stream), len(change["read"]), change["reload"]) == (0, 100, True)


def test_a_change_costs_the_same_for_one_and_for_many(mine: Target, notified: Notified) -> None:
    def queries(mids: list[str]) -> int:
        with CaptureQueriesContext(connection) as captured:
            changes.read(mine, mids)
        return len(captured)

    assert queries(notified(mine, 1)) == queries(notified(mine, 30))


def test_muted_ids_make_no_items_until_they_are_unmuted(mine: Target, others: Target) -> None:
    changes.mute(mine, "x")
    changes.mute(mine, "x")
    notify([mine.user_id, others.user_id], "x", title="Hello")
    assert (unread(mine.stream), unread(others.stream)) == (0, 1)
    changes.unmute(others, "x")
    notify(mine.user_id, "x", title="Hello")
    assert unread(mine.stream) == 0
    changes.unmute(mine, "x")
    changes.unmute(mine, "\0")
    notify(mine.user_id, "x", title="Hello")
    assert unread(mine.stream) == 1
    assert InboxItem.objects.filter(event_id="x").count() == 2


def test_of_a_user_who_is_deleted_nothing_stays(
    mine: Target, others: Target, notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_ITEMS_PER_DELETE", 2)
    for target in (mine, others):
        mids = notified(target, 5)
        changes.read(target, mids[:1])
        changes.hide(target, mids[1:2])
        changes.mute(target, "y")
        Acknowledged.objects.create(stream=target.stream, epoch="e", seq=1)
    changes.forget(mine)
    assert [item.stream for item in InboxItem.objects.all()] == [others.stream] * 5
    assert [mute.stream for mute in InboxMute.objects.all()] == [others.stream]
    assert [row.stream for row in Acknowledged.objects.all()] == [others.stream]


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_deleted_is_no_error_of_who_deletes_the_user(
    mine: Target, notified: Notified, caplog: pytest.LogCaptureFixture
) -> None:
    notified(mine, 1)

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("DELETE"):
            raise OperationalError("away")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail):
        changes.forget(mine)
    assert InboxItem.objects.count() == 1
    [record] = caplog.records
    assert "stays until it is old" in record.message


def test_mutes_are_bounded(mine: Target, others: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MUTES_MAX", 2)
    for event_id in ("a", "b", "a"):
        changes.mute(mine, event_id)
    with pytest.raises(changes.TooManyMutes):
        changes.mute(mine, "c")
    changes.mute(others, "c")
    for bad in ("", "\0", "AUTH OK", "x" * 256):
        with pytest.raises(BadEvent):
            changes.mute(others, bad)
