"""Committed rows get their places (docs/history.md). tests/services/test_sequencer.py lets several do it at once."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from apps.realtime import EVERYONE, Topic, notify
from apps.realtime.conf import realtime_settings
from apps.realtime.core.names import ALL, Stream, topic_stream, user_stream
from apps.realtime.history import deployment_epoch
from apps.realtime.models import StoredEvent
from apps.realtime.models import Stream as StreamRow
from apps.realtime.publishing import sequencer as module
from apps.realtime.publishing.sequencer import number
from apps.realtime.rotation import rotate_all
from apps.realtime.topics import TopicRegistry

pytestmark = pytest.mark.django_db

NEWS = topic_stream("news")


def store(stream: Stream, count: int = 1, text: str = "") -> None:
    StoredEvent.objects.bulk_create(
        StoredEvent(stream=stream, event_id="x", mid=f"m{number}", frame=f'{{"id":"x","data":"{text}"}}')
        for number in range(count)
    )


def heads() -> dict[str, tuple[str, int]]:
    return {row.name: (row.epoch, row.head) for row in StreamRow.objects.all()}


def numbers(stream: Stream) -> list[int | None]:
    """In the order in which the rows were inserted."""
    return list(StoredEvent.objects.filter(stream=stream).order_by("id").values_list("seq", flat=True))


def test_it_gives_each_row_the_next_number_and_returns_the_event(topics: TopicRegistry) -> None:
    notify([EVERYONE, Topic("news")], "a", {"n": 1})
    notify(EVERYONE, "b", {"n": 2}, title="t")
    before = REGISTRY.get_sample_value("realtime_events_numbered_total") or 0
    events = number([ALL, NEWS])
    epoch = deployment_epoch()
    assert [(event.stream, event.id, event.epoch, event.seq) for event in events] == [
        ("all", "a", epoch, 1),
        ("topic.news", "a", epoch, 1),
        ("all", "b", epoch, 2),
    ]
    for event in events:
        row = StoredEvent.objects.get(stream=event.stream, epoch=event.epoch, seq=event.seq)
        assert event.mid == row.mid
        assert event.frame == f'{row.frame[:-1]},"seq":{event.seq}}}'
        assert json.loads(event.frame)["stream"] == event.stream
        assert event.size == len(event.frame.encode())
    assert heads() == {"all": (epoch, 2), "topic.news": (epoch, 1)}
    assert REGISTRY.get_sample_value("realtime_events_numbered_total") == before + 3


def test_what_comes_later_goes_on_and_what_is_numbered_stays() -> None:
    store(ALL, 2)
    number([ALL])
    store(ALL, 3)
    assert [event.seq for event in number([ALL])] == [3, 4, 5]
    assert numbers(ALL) == [1, 2, 3, 4, 5]
    assert number([ALL]) == []


def test_only_the_streams_that_are_named_are_numbered() -> None:
    store(ALL)
    store(NEWS)
    assert [event.stream for event in number([NEWS])] == [NEWS]
    assert numbers(ALL) == [None]


def test_a_stream_with_nothing_to_do_costs_one_query_and_gets_no_row() -> None:
    store(ALL)
    number([ALL])
    with CaptureQueriesContext(connection) as queries:
        assert number([ALL, NEWS]) == []
        assert number([]) == []
    assert len(queries) == 1
    assert set(heads()) == {"all"}


def test_the_rows_are_leased_by_the_database_s_clock() -> None:
    store(ALL)
    number([ALL])
    lease = timedelta(seconds=realtime_settings().lease_secs)
    assert StoredEvent.objects.filter(leased_until__gt=Now() + lease - timedelta(seconds=20)).exists()
    assert StoredEvent.objects.filter(leased_until__lte=Now() + lease).exists()


def test_the_time_of_change_is_that_of_the_numbering() -> None:
    store(ALL)
    number([ALL])
    StreamRow.objects.update(changed_at=Now() - timedelta(hours=1))
    store(ALL)
    number([ALL])
    changed = StreamRow.objects.filter(changed_at__gt=Now() - timedelta(seconds=20), changed_at__lte=Now())
    assert changed.count() == 1


def test_a_stream_in_a_new_epoch_begins_at_one_and_its_old_rows_stay() -> None:
    store(ALL, 2)
    number([ALL])
    store(ALL)
    old = deployment_epoch()
    new, _ = rotate_all()
    [event] = number([ALL])
    assert (event.epoch, event.seq) == (new, 1)
    assert heads() == {"all": (new, 1)}
    assert list(StoredEvent.objects.order_by("id").values_list("epoch", "seq")) == [(old, 1), (old, 2), (new, 1)]


def test_one_call_is_bounded_in_rows_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 3)
    store(ALL, 4)
    store(NEWS, 4)
    taken = [[(event.stream, event.seq) for event in number([ALL, NEWS])] for _ in range(4)]
    assert [len(events) for events in taken] == [3, 3, 2, 0]
    assert numbers(ALL) == numbers(NEWS) == [1, 2, 3, 4]


def test_one_call_is_bounded_in_text_and_takes_one_event_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHARS_MAX", 1_000)
    store(ALL, 3, text="x" * 600)
    store(ALL, 1, text="x" * 5_000)
    store(ALL, 1)
    assert [len(number([ALL])) for _ in range(4)] == [2, 2, 1, 0]
    assert numbers(ALL) == [1, 2, 3, 4, 5]


def test_one_call_is_bounded_in_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAMS_MAX", 2)
    streams = [user_stream(str(key)) for key in range(5)]
    for stream in streams:
        store(stream)
    assert [len(number(streams)) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_it_is_refused() -> None:
    """Its numbers would be published before they are committed."""
    store(ALL)
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        number([ALL])
    assert numbers(ALL) == [None]


@pytest.mark.django_db(transaction=True)
def test_an_error_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    store(ALL)
    number([ALL])
    store(ALL)

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if "SET head = raised" in sql:
            raise ZeroDivisionError
        return execute(sql, *rest)

    with connection.execute_wrapper(fail), pytest.raises(ZeroDivisionError):
        number([ALL])
    assert numbers(ALL) == [1, None]
    assert [event.seq for event in number([ALL])] == [2]
