"""Old items go, and the count with them (docs/inbox.md)."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django import DjangoAssertNumQueries

from apps.realtime.conf import realtime_settings
from apps.realtime.core.events import UNCOUNTED
from apps.realtime.models import InboxItem, StoredEvent
from apps.realtime.publishing import inbox_retention
from apps.realtime.publishing.inbox_retention import InboxPruner
from apps.realtime.publishing.relay import Relay
from tests.unit.conftest import RecordingPublisher

pytestmark = pytest.mark.django_db


def pruner() -> InboxPruner:
    return InboxPruner(replace(realtime_settings(), inbox_days=10))


def keep(mid: str, *, days: float, user: str = "1", **fields: Any) -> None:
    InboxItem.objects.create(
        stream=f"user.{user}",
        user_id=user,
        mid=mid,
        event_id="x",
        title="t",
        created_at=Now() - timedelta(days=days),
        **fields,
    )


def kept() -> list[str]:
    return list(InboxItem.objects.order_by("id").values_list("mid", flat=True))


def told() -> list[tuple[str, list[str]]]:
    events = StoredEvent.objects.order_by("id")
    assert all(event.event_id == "inbox/CHANGED" and event.unread == UNCOUNTED for event in events)
    return [(event.stream, json.loads(event.frame)["data"]["hidden"]) for event in events]


def test_old_items_go_and_those_whose_count_changes_are_told() -> None:
    keep("old", days=11)
    keep("young", days=9)
    keep("read", days=11, user="2", read_at=timezone.now())
    keep("hidden", days=11, user="2", hidden=True)
    keep("older", days=12, user="3")
    keep("old too", days=11, user="3")
    before = REGISTRY.get_sample_value("realtime_inbox_items_pruned_total") or 0
    assert pruner().turn() is False
    assert kept() == ["young"]
    assert sorted(told()) == [("user.1", ["old"]), ("user.3", ["older", "old too"])]
    assert REGISTRY.get_sample_value("realtime_inbox_items_pruned_total") == before + 5


def test_many_go_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_retention, "ITEMS_A_BATCH", 2)
    for n in range(5):
        keep(str(n), days=20 - n)
    walk = pruner()
    assert [(walk.turn(), kept()) for _ in range(3)] == [(True, ["2", "3", "4"]), (True, ["4"]), (False, [])]


def test_nothing_to_do_costs_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    keep("young", days=1)
    with django_assert_num_queries(1):
        assert pruner().turn() is False


@pytest.mark.django_db(transaction=True)
def test_the_relay_does_it() -> None:
    keep("old", days=11)
    relay = Relay(replace(realtime_settings(), inbox_days=10), RecordingPublisher())
    assert relay.run_once(30) is None
    assert kept() == []
    assert told() == [("user.1", ["old"])]
