"""The stored events (docs/admin.md, "Events")."""

from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from apps.realtime.admin import events as module
from apps.realtime.models import StoredEvent
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db
PAGE = "/admin/message_flow/storedevent/"
MID = "0123456789abcdef" * 2
HOSTILE = '<script>alert("1")</script>'


def store(stream: str, event_id: str = "x", seq: int | None = None, **fields: Any) -> StoredEvent:
    epoch = None if seq is None else "e1"
    given = {"mid": "f" * 32, "frame": "{}"} | fields
    return StoredEvent.objects.create(stream=stream, event_id=event_id, seq=seq, epoch=epoch, **given)


def found(client: Client, **query: str) -> list[int]:
    answer = client.get(PAGE, query)
    assert answer.status_code == 200
    return [event.id for event in answer.context["cl"].result_list]


def test_they_are_found_by_user_stream_mid_and_id(admin_client: Client, make_user: MakeUser) -> None:
    alice = make_user("alice")
    mine = f"user.{alice.pk}"
    first = store(mine, "invoice/PAID", mid=MID).id
    second = store(mine, "invoice/SENT").id
    other = store("topic.news", "invoice/PAID").id
    assert found(admin_client) == [other, second, first]
    for words, expected in {
        "alice": [second, first],
        str(alice.pk): [second, first],
        mine: [second, first],
        "topic.news": [other],
        MID: [first],
        "invoice/PAID": [other, first],
        " alice  invoice/PAID ": [first],
        f"topic.news {MID}": [],
        "invoice/paid": [],
        "invoice": [],
        "%": [],
        "a b c d e": [],
    }.items():
        assert found(admin_client, q=words) == expected, words


def test_what_has_no_index_is_looked_for_among_the_newest(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEARCHED_MAX", 2)
    ids = [store("all", "x", mid=MID).id for _ in range(4)]
    assert found(admin_client, q="x") == found(admin_client, q=MID) == ids[:1:-1]
    assert found(admin_client, q="all") == found(admin_client, q="all x") == ids[::-1]


def test_a_search_never_walks_by_the_primary_key(admin_client: Client) -> None:
    """PostgreSQL would take that index for a rare stream, and read the whole table."""
    for query in ({"q": "topic.news"}, {"q": "x"}, {"progress": "unpublished"}):
        sql = str(admin_client.get(PAGE, query).context["cl"].queryset.query)
        assert "ORDER BY (" in sql
        assert "LIKE" not in sql.upper()


def test_what_has_not_left_is_a_click_away(admin_client: Client) -> None:
    waiting = store("all").id
    unpublished = store("all", seq=1).id
    store("all", seq=2, confirmed_at=Now())
    assert found(admin_client, progress="unnumbered") == [waiting]
    assert found(admin_client, progress="unpublished") == [unpublished]
    assert len(found(admin_client, progress="other")) == 3


def test_a_page_costs_the_same_however_many_events_it_shows(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for count in (1, 99):
        for _ in range(count):
            store("all", seq=None)
        # Session, user; how many; the page.
        with django_assert_num_queries(4):
            assert admin_client.get(PAGE).status_code == 200


def test_frames_are_not_read_for_the_list(admin_client: Client) -> None:
    store("all", frame=HOSTILE)
    answer = admin_client.get(PAGE)
    assert "frame" in answer.context["cl"].result_list[0].get_deferred_fields()


def test_what_anybody_sent_is_shown_as_text(admin_client: Client) -> None:
    event = store(f"topic.{HOSTILE}", HOSTILE, frame=f'{{"id":"{HOSTILE}","data":"\x1b\u202e"}}')
    for path in (PAGE, f"{PAGE}?q={HOSTILE}", f"{PAGE}{event.id}/change/"):
        page = admin_client.get(path).content.decode()
        assert "&lt;script&gt;alert" in page
        assert "<script>alert" not in page
    assert "waits for its number" in page
