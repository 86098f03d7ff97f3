"""`realtime inspect` (docs/commands.md)."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management.base import CommandError
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from apps.realtime.inbox.models import InboxItem, InboxMute
from apps.realtime.management import inspecting as module
from apps.realtime.management.inspecting import inspect
from apps.realtime.models import SignIn, StoredEvent, Stream
from apps.realtime.publishing.asking import Report
from tests.unit.conftest import MakeUser

from .test_live import NOTHING, TAB

pytestmark = pytest.mark.django_db


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    report = replace(NOTHING, sessions=[TAB], total=1)
    monkeypatch.setattr(module, "list_sessions", lambda user_id: report)
    return report


def inspected(who: str, taken_as: str | None = None) -> list[str]:
    lines: list[str] = []
    inspect(who, taken_as, lines.append)
    return [" ".join(line.split()) for line in lines]


def store(stream: str, seq: int | None, event_id: str, **fields: Any) -> None:
    epoch = None if seq is None else "e1"
    StoredEvent.objects.create(
        stream=stream, epoch=epoch, seq=seq, mid="m", event_id=event_id, frame="secret", **fields
    )


def test_it_shows_what_explains_a_lost_event(report: Report, make_user: MakeUser) -> None:
    alice = make_user("alice", last_login=timezone.now())
    mine = f"user.{alice.pk}"
    Stream.objects.create(name=mine, epoch="e1", head=12, floor=2)
    store(mine, 11, "invoice/PAID", confirmed_at=Now())
    store(mine, 12, "invoice/SENT")
    store(mine, None, "invoice/LATE")
    store("all", None, "news/OUT")
    store("user.999999", 5, "not/MINE")
    for number in range(7):
        InboxMute.objects.create(stream=mine, event_id=f"muted-{number}")
    InboxItem.objects.create(stream=mine, user_id=str(alice.pk), mid="1" * 32, event_id="x", title="secret")
    SignIn.touch("a" * 32, str(alice.pk), "")
    SignIn.end("b" * 32, str(alice.pk))
    SignIn.touch("c" * 32, "999999", "")
    lines = inspected("alice")
    text = "\n".join(lines)
    assert lines[0].startswith(f"user {alice.pk} alice: active, last signed in 20")
    assert f"{mine} 12 2 e1 1 1 20" in text
    assert [line.endswith("no event yet") for line in lines if line.startswith(("all", "topic.news "))] == [
        True,
        True,
        False,
    ]
    assert "aaaaaaaa stands" in text
    assert "bbbbbbbb ended" in text
    assert "1 stand" in lines
    assert "1 unread; muted: muted-0, muted-1, muted-2, muted-3, muted-4 and 2 more" in lines
    assert "1 session on 2 nodes" in lines
    ids = [next(word for word in line.split() if "/" in word) for line in lines if "/" in line]
    assert ids == ["invoice/LATE", "invoice/SENT", "invoice/PAID", "news/OUT"]
    assert ["waits for its number" in line for line in lines if "/" in line] == [True, False, False, True]
    for hidden in ("secret", "not/MINE", "cccccccc"):
        assert hidden not in text


def test_its_times_are_the_site_s_without_time_zones_too(
    report: Report, make_user: MakeUser, settings: Settings
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"
    mine = f"user.{make_user('alice', last_login=timezone.now()).pk}"
    Stream.objects.create(name=mine, epoch="e1", head=1)
    store(mine, 1, "invoice/PAID")
    text = "\n".join(inspected("alice"))
    hours = {f"{datetime.now(ZoneInfo('Asia/Tokyo')) - timedelta(minutes=late):%Y-%m-%d %H:}" for late in (0, 5)}
    for start in ("active, last signed in ", f"{mine} 1 0 e1 0 1 ", f"{mine} 1 invoice/PAID m "):
        assert any(start + hour in text for hour in hours), text


def test_it_fits_on_a_screen_and_asks_little(
    report: Report, make_user: MakeUser, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    alice = make_user("alice")
    for number in range(50):
        store(f"user.{alice.pk}", None, f"x/{number}")
        SignIn.touch(f"{number:032}", str(alice.pk), "")
    with django_assert_max_num_queries(19):
        assert len(inspected("alice")) <= 40


def test_it_says_when_nothing_is_there(report: Report, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "list_sessions", lambda user_id: NOTHING)
    make_user("alice", is_active=False)
    lines = inspected("alice")
    assert "NOT ACTIVE: every token is refused, never signed in" in lines[0]
    assert "0 unread; muted: nothing" in lines
    for line in ("0 stand", "0 sessions on 2 nodes", "none is kept"):
        assert line in lines


def test_somebody_who_was_deleted_can_be_looked_at_by_key(report: Report) -> None:
    assert inspected("12345", "key")[0] == "no user has the key '12345' now"
    with pytest.raises(CommandError, match="no user is called"):
        inspected("12345")


def test_nothing_that_anybody_typed_steers_the_terminal(report: Report, make_user: MakeUser) -> None:
    evil = make_user("\x1b[2J\u202eevil")
    store(f"user.{evil.pk}", None, "\x1b]0;x")
    InboxMute.objects.create(stream=f"user.{evil.pk}", event_id="\x1b]0;y")
    lines: list[str] = []
    inspect("\x1b[2J\u202eevil", None, lines.append)
    assert all(line.removeprefix("\n").isprintable() for line in lines)
