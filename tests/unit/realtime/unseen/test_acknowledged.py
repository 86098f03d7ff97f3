"""How far tabs have acknowledged, as it is stored (docs/unseen.md)."""

import pytest
from pytest_django import DjangoAssertNumQueries

from apps.realtime.core.names import Stream
from apps.realtime.core.resume import Cursor
from apps.realtime.models import Acknowledged
from apps.realtime.unseen.acknowledged import write_acknowledged

A, B = Stream("user.a"), Stream("user.b")


def stored() -> dict[str, tuple[str, int]]:
    return {row.stream: (row.epoch, row.seq) for row in Acknowledged.objects.all()}


@pytest.mark.django_db
def test_within_a_numbering_it_only_goes_up_and_a_new_one_counts_anew(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(1):
        write_acknowledged({B: Cursor("e", 5), A: Cursor("e", 7)})
    assert stored() == {A: ("e", 7), B: ("e", 5)}
    # Another node is behind with one of them.
    with django_assert_num_queries(1):
        write_acknowledged({A: Cursor("e", 6), B: Cursor("e", 6)})
    assert stored() == {A: ("e", 7), B: ("e", 6)}
    write_acknowledged({A: Cursor("f", 1)})
    assert stored() == {A: ("f", 1), B: ("e", 6)}
