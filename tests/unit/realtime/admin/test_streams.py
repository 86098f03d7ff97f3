"""Where the streams stand (docs/admin.md, "Streams")."""

from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from apps.realtime.models import StoredEvent, Stream
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db
PAGE = "/admin/message_flow/stream/"


def stream(name: str, **fields: Any) -> None:
    Stream.objects.create(name=name, epoch="e1", head=12, floor=2, **fields)


def store(name: str, seq: int | None, **fields: Any) -> None:
    epoch = None if seq is None else "e1"
    StoredEvent.objects.create(stream=name, seq=seq, epoch=epoch, mid="m", event_id="x", frame="{}", **fields)


def cells(answer: Any) -> list[list[str]]:
    """The texts of the rows of the list."""
    from html.parser import HTMLParser

    class Cells(HTMLParser):
        rows: list[list[str]]

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag == "tr":
                self.rows.append([])
            elif tag in ("td", "th"):
                self.rows[-1].append("")

        def handle_data(self, data: str) -> None:
            if self.rows and self.rows[-1]:
                self.rows[-1][-1] += data.strip()

    parser = Cells()
    parser.rows = []
    text = answer.content.decode()
    parser.feed(text[text.index("<tbody>") : text.index("</tbody>")])
    return parser.rows


def test_each_shows_where_it_stands_and_what_waits(admin_client: Client) -> None:
    stream("all")
    stream("topic.a")
    store("topic.a", 11, confirmed_at=Now())
    store("topic.a", 12)
    for _ in range(2):
        store("topic.a", None)
    rows = cells(admin_client.get(PAGE))
    assert [row[:6] for row in rows] == [["all", "12", "2", "e1", "0", "0"], ["topic.a", "12", "2", "e1", "2", "1"]]
    shown = admin_client.get(f"{PAGE}topic.a/change/").content.decode()
    assert '<div class="readonly">2</div>' in shown
    assert '<a href="/admin/message_flow/storedevent/?q=topic.a">' in shown


def test_they_are_found_by_user_and_by_the_whole_name(admin_client: Client, make_user: MakeUser) -> None:
    alice = make_user("alice")
    mine = f"user.{alice.pk}"
    for name in ("all", "topic.a", mine):
        stream(name)
    for words, expected in {
        "alice": [mine],
        str(alice.pk): [mine],
        "topic.a": ["topic.a"],
        "topic": [],
        "": ["all", "topic.a", mine],
        "%": [],
    }.items():
        found = admin_client.get(PAGE, {"q": words}).context["cl"].result_list
        assert [one.name for one in found] == expected, words


def test_a_page_costs_the_same_however_many_streams_it_shows(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for first, last in ((0, 1), (1, 100)):
        for number in range(first, last):
            stream(f"topic.{number}")
            store(f"topic.{number}", None)
        # Session, user; how many; the page; what waits, twice.
        with django_assert_num_queries(6):
            assert admin_client.get(PAGE).status_code == 200
