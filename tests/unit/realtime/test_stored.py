"""What has not left the database (docs/commands.md)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries

from apps.realtime.models import StoredEvent
from apps.realtime.stored import Progress, Unsent, last_events, stored_events, unsent, with_progress

pytestmark = pytest.mark.django_db


def store(stream: str, seq: int | None = None, **fields: Any) -> StoredEvent:
    epoch = None if seq is None else fields.pop("epoch", "e1")
    return StoredEvent.objects.create(
        stream=stream, epoch=epoch, seq=seq, mid=f"{stream}-{seq}", event_id="x", frame="{}", **fields
    )


def test_unsent_events_are_counted_by_stream(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    store("user.1", 1, confirmed_at=Now())
    store("user.1", 2)
    for _ in range(2):
        store("user.1")
    store("user.2", 1, confirmed_at=Now())
    store("user.3")
    store("user.4")
    with django_assert_num_queries(2):
        found = unsent(["user.1", "user.2", "user.3"])
    assert found == {"user.1": Unsent(2, 1), "user.3": Unsent(1, 0)}
    assert found["user.1"].total == 3
    assert unsent([]) == {}


def test_each_event_says_how_far_it_has_come() -> None:
    later, before = Now() + timedelta(minutes=1), Now() - timedelta(minutes=1)
    store("all")
    store("all", 1, leased_until=later)
    store("all", 2, leased_until=before)
    store("all", 3)
    store("all", 4, leased_until=later, confirmed_at=Now())
    found = with_progress(stored_events()).order_by("id")
    assert [event.progress for event in found] == [  # type: ignore[attr-defined]
        Progress.UNNUMBERED,
        Progress.LEASED,
        Progress.UNPUBLISHED,
        Progress.UNPUBLISHED,
        Progress.PUBLISHED,
    ]


def test_the_last_events_are_those_that_wait_and_then_the_newest_numbers(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for seq in range(1, 6):
        store("user.1", seq)
    store("user.1", 9, epoch="ended")
    store("user.2", 7)
    waiting = store("user.1")
    with django_assert_num_queries(2):
        found = last_events("user.1", "e1", 3)
    assert [event.seq for event in found] == [None, 5, 4]
    assert found[0].id == waiting.id
    assert [event.seq for event in last_events("user.1", "e1", 1)] == [None]
