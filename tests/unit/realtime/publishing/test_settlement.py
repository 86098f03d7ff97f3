"""What became of numbered events (docs/publishing.md)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from apps.realtime.core.names import ALL, user_stream
from apps.realtime.models import StoredEvent
from apps.realtime.publishing import settlement as module
from apps.realtime.publishing.settlement import Place, confirm, release

pytestmark = pytest.mark.django_db

MINE, OTHER = user_stream("7"), user_stream("8")


def store(stream: str, epoch: str, *seqs: int) -> None:
    StoredEvent.objects.bulk_create(
        StoredEvent(
            stream=stream, epoch=epoch, seq=seq, event_id="x", frame="{}", leased_until=Now() + timedelta(hours=1)
        )
        for seq in seqs
    )


def which(**conditions: Any) -> set[tuple[str, str | None, int | None]]:
    return set(StoredEvent.objects.filter(**conditions).values_list("stream", "epoch", "seq"))


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("realtime_events_settled_total", {"outcome": outcome}) or 0.0


def test_what_is_confirmed_is_marked_and_nothing_else() -> None:
    store(MINE, "e1", 1, 2, 3, 4, 5)
    store(MINE, "e2", 1, 2)
    store(OTHER, "e1", 1, 2)
    before = counted("confirmed")
    confirm(
        [Place(MINE, "e1", 4), Place(OTHER, "e1", 1), Place(MINE, "e1", 1), Place(MINE, "e1", 2), Place(ALL, "e1", 1)]
    )
    confirmed = {(MINE, "e1", 1), (MINE, "e1", 2), (MINE, "e1", 4), (OTHER, "e1", 1)}
    assert which(confirmed_at__isnull=False) == confirmed
    assert which(confirmed_at__lte=Now()) == confirmed
    assert which(leased_until__gt=Now()) == which()
    assert counted("confirmed") == before + 4


def test_what_is_released_is_free_for_the_relay_at_once() -> None:
    store(MINE, "e1", 1, 2, 3)
    before = counted("unconfirmed")
    confirm([Place(MINE, "e1", 2)])
    # The relay confirmed one meanwhile: that stands.
    release([Place(MINE, "e1", 1), Place(MINE, "e1", 2)])
    assert which(leased_until__lte=Now()) == {(MINE, "e1", 1)}
    assert which(confirmed_at__isnull=True) == {(MINE, "e1", 1), (MINE, "e1", 3)}
    assert counted("unconfirmed") == before + 1


def test_neighbours_are_one_range_and_statements_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RANGES_MAX", 2)
    store(MINE, "e1", *range(1, 101))
    store(OTHER, "e1", *range(1, 11))
    places = [Place(MINE, "e1", seq) for seq in range(1, 101)] + [Place(OTHER, "e1", seq) for seq in (1, 3, 4, 9)]
    with CaptureQueriesContext(connection) as queries:
        confirm(places)
    assert len(queries) == 2
    assert len(which(confirmed_at__isnull=False)) == 104


def test_nothing_is_no_query() -> None:
    with CaptureQueriesContext(connection) as queries:
        confirm([])
        release([])
    assert len(queries) == 0
