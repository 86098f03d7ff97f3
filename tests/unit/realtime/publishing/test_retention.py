"""What is trimmed, and what never (docs/relay.md)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from prometheus_client import REGISTRY
from pytest_django import DjangoAssertNumQueries

from apps.realtime.conf import realtime_settings
from apps.realtime.models import StoredEvent, Stream
from apps.realtime.publishing import retention
from apps.realtime.publishing.retention import Pruner

pytestmark = pytest.mark.django_db
HOUR = 3_600


def pruner(*, max_events: int = 10, max_age_secs: float = HOUR) -> Pruner:
    return Pruner(replace(realtime_settings(), history_max_events=max_events, history_max_age_secs=max_age_secs))


def store(
    stream: str, count: int, *, epoch: str | None = "e1", age_secs: float = 0, confirmed: bool = True, first: int = 1
) -> None:
    """Rows numbered from `first` on; without an epoch rows that wait for their number."""
    StoredEvent.objects.bulk_create(
        StoredEvent(
            stream=stream,
            epoch=epoch,
            seq=None if epoch is None else first + position,
            mid="m",
            event_id="x",
            frame="{}",
            created_at=Now() - timedelta(seconds=age_secs),
            confirmed_at=Now() if confirmed and epoch else None,
        )
        for position in range(count)
    )


def kept(stream: str, epoch: str = "e1") -> list[int | None]:
    rows = StoredEvent.objects.filter(stream=stream, epoch=epoch).order_by("seq")
    return list(rows.values_list("seq", flat=True))


def counted(confirmed: str) -> float:
    return REGISTRY.get_sample_value("realtime_rows_pruned_total", {"confirmed": confirmed}) or 0.0


def test_the_newest_are_kept_and_the_floor_says_from_where() -> None:
    Stream.objects.create(name="a", epoch="e1", head=13)
    Stream.objects.create(name="b", epoch="e1", head=10)
    store("a", 13)
    store("b", 10)
    before = counted("yes")
    changed = Stream.objects.get(name="a").changed_at
    assert pruner().turn() is False
    assert (Stream.objects.get(name="a").floor, kept("a")) == (3, list(range(4, 14)))
    assert (Stream.objects.get(name="b").floor, kept("b")) == (0, list(range(1, 11)))
    assert counted("yes") - before == 3
    # Nodes look for streams that changed: nothing has come to this one.
    assert Stream.objects.get(name="a").changed_at == changed


def test_old_events_go_up_to_the_first_that_is_young() -> None:
    Stream.objects.create(name="a", epoch="e1", head=7)
    store("a", 3, age_secs=2 * HOUR)
    store("a", 1, first=4)
    store("a", 3, first=5, age_secs=2 * HOUR)
    pruner().turn()
    assert (Stream.objects.get(name="a").floor, kept("a")) == (3, [4, 5, 6, 7])


def test_a_stream_whose_events_have_all_gone_keeps_its_row_and_its_head() -> None:
    Stream.objects.create(name="a", epoch="e1", head=5, floor=2)
    store("a", 3, first=3, age_secs=2 * HOUR)
    pruner().turn()
    [stream] = Stream.objects.all()
    assert (stream.epoch, stream.head, stream.floor, kept("a")) == ("e1", 5, 5, [])


def test_what_has_no_number_is_never_touched() -> None:
    Stream.objects.create(name="a", epoch="e1", head=0)
    store("a", 30, epoch=None, age_secs=2 * HOUR)
    pruner(max_events=1).turn()
    assert StoredEvent.objects.count() == 30


def test_what_was_not_confirmed_goes_too_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    Stream.objects.create(name="a", epoch="e1", head=14)
    store("a", 14, confirmed=False)
    before = counted("no")
    pruner().turn()
    assert kept("a") == list(range(5, 15))
    assert counted("no") - before == 4
    assert "4 events of a were trimmed before the broker confirmed them" in caplog.text


def test_of_ended_numberings_the_old_rows_go_and_the_floor_stays() -> None:
    Stream.objects.create(name="a", epoch="e5", head=2)
    store("a", 2, epoch="e5")
    store("a", 3, epoch="e1", age_secs=2 * HOUR)
    store("a", 20, epoch="e2")
    store("a", 2, epoch="e9", age_secs=2 * HOUR)
    walk = pruner()
    walk.turn()
    walk.turn()
    assert (kept("a", "e1"), len(kept("a", "e2")), kept("a", "e9")) == ([], 20, [])
    assert (Stream.objects.get().floor, kept("a", "e5")) == (0, [1, 2])


def test_a_long_backlog_goes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_A_BATCH", 7)
    Stream.objects.create(name="a", epoch="e1", head=40)
    store("a", 40)
    pruner().turn()
    assert (Stream.objects.get().floor, kept("a")) == (30, list(range(31, 41)))


def test_when_time_runs_out_the_next_turn_goes_on_where_this_one_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TURN_SECS", 0.0)
    for name in "ab":
        Stream.objects.create(name=name, epoch="e1", head=12)
        store(name, 12)
    walk = pruner()
    assert (walk.turn(), walk.walked) == (True, False)
    assert kept("a") == list(range(1, 13))
    monkeypatch.setattr(retention, "TURN_SECS", 5.0)
    assert (walk.turn(), walk.walked) == (False, True)
    assert kept("a") == kept("b") == list(range(3, 13))


def test_it_walks_over_the_streams_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STREAMS_A_TURN", 2)
    for name in "abcde":
        Stream.objects.create(name=name, epoch="e1", head=11)
        store(name, 11)
    walk = pruner()
    done = []
    for _ in range(4):
        walk.turn()
        done.append((sorted(Stream.objects.filter(floor=1).values_list("name", flat=True)), walk.walked))
    assert done == [(["a", "b"], False), (["a", "b", "c", "d"], False), (list("abcde"), True), (list("abcde"), False)]


def test_a_stream_that_somebody_else_has_changed_is_left_for_another_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    Stream.objects.create(name="a", epoch="e1", head=20)
    store("a", 20)
    walk = pruner()
    look = walk._due

    def late(streams: object) -> object:
        due = look(streams)  # type: ignore[arg-type]
        # Another relay was quicker, or the numbering has ended.
        Stream.objects.update(epoch="e2", head=0)
        return due

    monkeypatch.setattr(walk, "_due", late)
    assert walk.turn() is False
    assert len(kept("a")) == 20
    assert Stream.objects.get().floor == 0


def test_nothing_to_do_costs_two_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for number in range(50):
        Stream.objects.create(name=f"user.{number}", epoch="e1", head=1)
        store(f"user.{number}", 1)
    walk = pruner()
    with django_assert_num_queries(2):
        walk.turn()
