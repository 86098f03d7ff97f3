"""What waits at each stage (docs/health.md)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from apps.realtime.models import StoredEvent
from apps.realtime.publishing import backlog
from apps.realtime.publishing.backlog import measure

pytestmark = pytest.mark.django_db


def store(seq: int | None = None, *, age_secs: float = 0, **fields: Any) -> None:
    epoch = None if seq is None else "e1"
    created_at = Now() - timedelta(seconds=age_secs)
    StoredEvent.objects.create(
        stream="user.1", epoch=epoch, seq=seq, mid="m", event_id="x", frame="{}", created_at=created_at, **fields
    )


def shown(stage: str) -> tuple[float, int]:
    """Events and whole seconds."""
    labels = {"stage": stage}
    events = REGISTRY.get_sample_value("realtime_backlog_events", labels)
    age = REGISTRY.get_sample_value("realtime_backlog_oldest_seconds", labels)
    assert events is not None
    assert age is not None
    return events, round(age)


def test_each_stage_has_its_events_and_the_age_of_the_oldest() -> None:
    store(age_secs=5)
    store(age_secs=90)
    store(1, age_secs=600, leased_until=Now())
    store(2, age_secs=300)
    store(3, age_secs=9_000, confirmed_at=Now())
    measure("default")
    assert (shown("unnumbered"), shown("unpublished")) == ((2, 90), (2, 600))


def test_where_nothing_waits_nothing_is_old() -> None:
    store(3, age_secs=9_000, confirmed_at=Now())
    measure("default")
    assert (shown("unnumbered"), shown("unpublished")) == ((0, 0), (0, 0))


def test_counting_is_bounded_and_begins_with_the_oldest_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "COUNT_MAX", 2)
    for age in (10, 30, 20):
        store(age, age_secs=age, leased_until=Now() - timedelta(seconds=age))
    measure("default")
    assert shown("unpublished") == (2, 30)


def test_a_look_costs_two_queries_on_indexes_of_what_waits() -> None:
    with CaptureQueriesContext(connection) as queries:
        measure("default")
    assert len(queries) == 2
    for query, index in zip(queries, ("message_flow_unnumbered", "message_flow_unconfirmed"), strict=True):
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = " ".join(str(row) for row in cursor.fetchall())
        assert index in plan
        assert "TEMP B-TREE" not in plan
