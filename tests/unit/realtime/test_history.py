"""Where streams stand and what is behind them, each in one query (docs/history.md)."""

from collections.abc import Iterable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from apps.realtime import history
from apps.realtime.core.names import ALL, user_stream
from apps.realtime.core.names import Stream as Name
from apps.realtime.core.resume import Head
from apps.realtime.history import PageRequest, Range, changed_heads, counts, deployment_epoch, heads, pages
from apps.realtime.models import Deployment, StoredEvent, Stream

pytestmark = pytest.mark.django_db
ALICE, BOB = user_stream("1"), user_stream("2")


def store(stream: Name, seqs: Iterable[int], *, epoch: str = "e1", frame: str = '{"id":"a","data":1}') -> None:
    StoredEvent.objects.bulk_create(
        StoredEvent(stream=stream, epoch=epoch, seq=seq, mid=f"m{seq}", event_id="a", frame=frame) for seq in seqs
    )


def seqs_of(request: PageRequest, max_events: int = history.PAGE_EVENTS) -> list[int]:
    return [event.seq for event in pages([request], max_events)[request]]


def test_a_stream_without_a_row_stands_at_the_deployments_epoch() -> None:
    Stream.objects.create(name=ALICE, epoch="e1", head=7, floor=2)
    epoch = deployment_epoch()
    with CaptureQueriesContext(connection) as queries:
        assert heads([ALICE, BOB, ALL]) == {ALICE: Head("e1", 7, 2), BOB: Head(epoch, 0, 0), ALL: Head(epoch, 0, 0)}
    assert len(queries) == 1


def test_the_deployments_epoch_is_made_once() -> None:
    assert heads([BOB])[BOB].epoch == deployment_epoch() == Deployment.objects.get().epoch
    assert heads([]) == {}


def test_many_streams_take_a_query_for_each_1000() -> None:
    streams = [user_stream(str(number)) for number in range(2_500)]
    Stream.objects.bulk_create(Stream(name=name, epoch="e1", head=number) for number, name in enumerate(streams))
    deployment_epoch()
    with CaptureQueriesContext(connection) as queries:
        found = heads(streams)
        assert [found[name].head for name in streams] == list(range(2_500))
        assert changed_heads(streams, 60) == found
    assert len(queries) == 6


def test_streams_that_changed_lately() -> None:
    Stream.objects.create(name=ALICE, epoch="e1", head=7, floor=2)
    Stream.objects.create(name=ALL, epoch="e2", head=9)
    Stream.objects.filter(name=ALL).update(changed_at=Now() - timedelta(seconds=100))
    # Bob's has no row and ALL's change is long ago.
    assert changed_heads([ALICE, BOB, ALL], 90) == {ALICE: Head("e1", 7, 2)}
    assert changed_heads([ALL], 110) == {ALL: Head("e2", 9, 0)}
    # Nobody asked for hers.
    assert changed_heads([BOB], 90) == {}


def test_counts_of_a_batch_take_one_query() -> None:
    store(ALICE, (3, 4, 6))
    store(ALICE, (5,), epoch="e2")
    store(BOB, (4,))
    StoredEvent.objects.create(stream=ALICE, mid="m", event_id="a", frame="{}")  # not numbered
    expected = {
        Range(ALICE, "e1", 2, 6): 3,
        Range(ALICE, "e1", 3, 4): 1,
        Range(ALICE, "e1", 6, 9): 0,
        Range(ALICE, "e2", 0, 9): 1,
        Range(BOB, "e1", 3, 4): 1,
        Range(ALL, "e1", 0, 2**63 - 1): 0,
    }
    with CaptureQueriesContext(connection) as queries:
        assert counts(expected) == expected
    assert len(queries) == 1
    assert counts([]) == {}


def test_a_page_holds_the_numbered_frames_in_order() -> None:
    store(ALICE, (2, 1), frame='{"id":"a","data":"é"}')
    (first, second) = pages([PageRequest(ALICE, "e1", 0)])[PageRequest(ALICE, "e1", 0)]
    assert (first.seq, second.seq) == (1, 2)
    assert (second.stream, second.epoch, second.id, second.mid) == (ALICE, "e1", "a", "m2")
    assert second.frame == '{"id":"a","data":"é","seq":2}'
    assert second.size == len(second.frame.encode())


def test_pages_of_a_batch_take_one_query() -> None:
    store(ALICE, range(1, 10))
    store(ALICE, (1,), epoch="e2")
    store(BOB, (7, 8))
    requests = [
        PageRequest(ALICE, "e1", 0),
        PageRequest(ALICE, "e1", 7),
        PageRequest(ALICE, "e1", 9),
        PageRequest(ALICE, "e2", 0),
        PageRequest(BOB, "e1", 6),
        PageRequest(ALL, "e1", 0),
    ]
    with CaptureQueriesContext(connection) as queries:
        found = pages(requests)
    assert len(queries) == 1
    assert [[event.seq for event in found[request]] for request in requests] == [
        [*range(1, 10)],
        [8, 9],
        [],
        [1],
        [7, 8],
        [],
    ]
    assert pages([]) == {}


def test_a_page_ends_before_a_hole() -> None:
    store(ALICE, (3, 4, 6, 7))
    assert seqs_of(PageRequest(ALICE, "e1", 2)) == [3, 4]
    assert seqs_of(PageRequest(ALICE, "e1", 1)) == []
    assert seqs_of(PageRequest(ALICE, "e1", 5)) == [6, 7]


def test_a_page_has_so_many_events_at_most() -> None:
    store(ALICE, range(1, 300))
    assert seqs_of(PageRequest(ALICE, "e1", 10)) == [*range(11, 267)]
    assert seqs_of(PageRequest(ALICE, "e1", 10), 3) == [11, 12, 13]
    assert seqs_of(PageRequest(ALICE, "e1", 2**63 - 2)) == []


def test_a_page_has_so_many_bytes_at_most_but_one_event_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seven bytes, five characters.
    store(ALICE, range(1, 10), frame='{"éé"')
    store(BOB, range(1, 10), frame='{"éé"')
    one, other = PageRequest(ALICE, "e1", 0), PageRequest(BOB, "e1", 0)
    monkeypatch.setattr(history, "PAGE_BYTES", 20)
    assert seqs_of(one) == [1, 2]
    monkeypatch.setattr(history, "PAGE_BYTES", 21)
    assert seqs_of(one) == [1, 2, 3]
    monkeypatch.setattr(history, "PAGE_BYTES", 1)
    assert seqs_of(one) == [1]
    # Both share what one query may bring, in bytes and in events.
    monkeypatch.setattr(history, "PAGE_BYTES", 21)
    monkeypatch.setattr(history, "PAGES_BYTES", 28)
    assert {request: len(events) for request, events in pages([one, other]).items()} == {one: 2, other: 2}
    monkeypatch.setattr(history, "PAGES_EVENTS", 3)
    assert {request: len(events) for request, events in pages([one, other]).items()} == {one: 1, other: 1}


def test_a_big_batch_takes_a_query_for_each_200() -> None:
    streams = [user_stream(str(number)) for number in range(450)]
    StoredEvent.objects.bulk_create(
        StoredEvent(stream=stream, epoch="e1", seq=seq, mid="m", event_id="a", frame="{}")
        for number, stream in enumerate(streams)
        for seq in range(1, number % 4 + 1)
    )
    with CaptureQueriesContext(connection) as queries:
        found = pages([PageRequest(stream, "e1", 0) for stream in streams])
        counted = counts([Range(stream, "e1", 0, 9) for stream in streams])
    assert len(queries) == 6
    assert [len(events) for events in found.values()] == [number % 4 for number in range(450)]
    assert list(counted.values()) == [number % 4 for number in range(450)]
