"""What ends a numbering, and what does not (docs/relay.md)."""

import pytest
from prometheus_client import REGISTRY

from apps.realtime.core.names import ALL, user_stream
from apps.realtime.core.resume import Head
from apps.realtime.history import deployment_epoch, heads
from apps.realtime.models import Stream
from apps.realtime.rotation import rotate_all, rotate_regressed, rotate_stream

pytestmark = pytest.mark.django_db
ALICE, BOB = user_stream("1"), user_stream("2")


def counted() -> float:
    return REGISTRY.get_sample_value("realtime_epochs_rotated_total") or 0.0


def test_all_streams_begin_anew_with_the_deployment_those_without_a_row_too() -> None:
    Stream.objects.create(name=ALICE, epoch="e1", head=7, floor=2)
    Stream.objects.create(name=BOB, epoch="e2", head=9)
    changed = Stream.objects.get(name=ALICE).changed_at
    before = deployment_epoch()
    epoch, count = rotate_all()
    assert epoch not in ("e1", "e2", before)
    assert count == 3  # with that of `all`, by which nodes notice
    assert set(heads([ALICE, BOB, ALL]).values()) == {Head(epoch, 0, 0)}
    assert Stream.objects.get(name=ALICE).changed_at > changed


def test_it_works_before_anything_was_ever_numbered() -> None:
    epoch, count = rotate_all()
    assert (epoch, count) == (deployment_epoch(), 1)
    assert heads([ALL])[ALL] == Head(epoch, 0, 0)


def test_one_stream_begins_anew_alone() -> None:
    Stream.objects.create(name=ALICE, epoch="e1", head=7, floor=2)
    Stream.objects.create(name=BOB, epoch="e1", head=9)
    alice, all_ = rotate_stream(ALICE), rotate_stream(ALL)
    assert heads([ALICE, BOB, ALL]) == {ALICE: Head(alice, 0, 0), BOB: Head("e1", 9, 0), ALL: Head(all_, 0, 0)}
    assert len({alice, all_, "e1", deployment_epoch()}) == 4


@pytest.mark.parametrize(
    ("epoch", "position", "rotates"),
    [("e1", 8, True), ("e1", 7, False), ("e1", 0, False), ("e2", 8, False)],
)
def test_a_node_ends_only_what_has_run_back(epoch: str, position: int, rotates: bool) -> None:
    Stream.objects.create(name=ALICE, epoch="e1", head=7, floor=2)
    before = counted()
    assert rotate_regressed(ALICE, epoch, position) is rotates
    assert (heads([ALICE])[ALICE] != Head("e1", 7, 2)) is rotates
    assert counted() - before == rotates
    # The second node that noticed changes nothing: new numbers may have been given by now.
    assert rotate_regressed(ALICE, epoch, position) is False


def test_a_stream_whose_row_was_lost_ends_the_numbering_that_it_would_begin_again() -> None:
    epoch = deployment_epoch()
    assert rotate_regressed(ALICE, "another", 3) is False
    assert rotate_regressed(ALICE, epoch, 0) is False
    assert heads([ALICE])[ALICE] == Head(epoch, 0, 0)
    assert rotate_regressed(ALICE, epoch, 3) is True
    assert heads([ALICE])[ALICE].epoch != epoch
    assert rotate_regressed(ALICE, epoch, 3) is False
    assert deployment_epoch() == epoch
