"""The inbox over HTTP (docs/protocol.md, section 4)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from apps.realtime import notify
from apps.realtime.core.events import UNREAD_MAX
from apps.realtime.inbox import changes, listing, views
from apps.realtime.models import InboxItem, InboxMute, StoredEvent
from apps.realtime.publishing.sequencer import number
from apps.realtime.publishing.targets import Target

from .conftest import Notified

pytestmark = pytest.mark.django_db
JSON = {"Accept": "application/json"}
POSTS = ["inbox_read", "inbox_unread", "inbox_hide", "inbox_mute", "inbox_unmute"]
SignIn = Callable[[Target], Client]


@pytest.fixture
def client_of() -> SignIn:
    def client_of(target: Target, **options: Any) -> Client:
        from django.contrib.auth import get_user_model

        client = Client(**options)
        client.force_login(get_user_model().objects.get(pk=str(target.user_id)))
        return client

    return client_of


@pytest.fixture
def client(mine: Target, client_of: SignIn) -> Client:
    """Alice's browser."""
    return client_of(mine)


def post(client: Client, name: str, **fields: Any) -> dict[str, Any]:
    answer = client.post(reverse(f"realtime:{name}"), fields, headers=JSON)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


# Reading -----------------------------------------------------------------------------------------


def test_json_has_the_list_the_count_and_a_cursor_of_before(
    client: Client, mine: Target, others: Target, notified: Notified
) -> None:
    notified(others, 2)
    notify(mine.user_id, "a", title="First", url="/orders/5/")
    notify(mine.user_id, "b", title="Second")
    number([mine.stream])
    first, second = InboxItem.objects.filter(stream=mine.stream).order_by("id")
    InboxItem.objects.filter(pk=first.pk).update(read_at=timezone.now())
    answer = client.get("/inbox", headers=JSON)
    assert answer["Cache-Control"].startswith("max-age=0, no-cache, no-store")
    assert {"Accept", "Cookie"} <= set(answer["Vary"].split(", "))
    state = answer.json()
    assert state.pop("cursor")[mine.stream]["seq"] == 2
    assert state == {
        "unread": 1,
        "muted": [],
        "next": None,
        "items": [
            {
                "mid": second.mid,
                "id": "b",
                "title": "Second",
                "url": None,
                "at": second.created_at.isoformat(),
                "read": False,
            },
            {
                "mid": first.mid,
                "id": "a",
                "title": "First",
                "url": "/orders/5/",
                "at": first.created_at.isoformat(),
                "read": True,
            },
        ],
    }


def test_a_site_without_time_zones_tells_when_it_was_all_the_same(
    client: Client, mine: Target, notified: Notified, settings: Settings
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"
    notified(mine, 1)
    [item] = client.get("/inbox", headers=JSON).json()["items"]
    at = datetime.fromisoformat(item["at"])
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=5)
    page = client.get("/inbox").content.decode()
    assert f'<time datetime="{item["at"]}">{at:%-d %b %Y, %H:%M}</time>' in page


def test_older_ones_are_a_link_away(
    client: Client, mine: Target, others: Target, notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE_ITEMS", 2)
    mids = notified(mine, 3)
    [foreign] = notified(others, 1)
    first = client.get("/inbox", headers=JSON).json()
    second = client.get(first["next"], headers=JSON).json()
    assert [item["mid"] for item in (*first["items"], *second["items"])] == mids[::-1]
    assert second["next"] is None
    for unknown in (foreign, "1", "\0"):
        assert client.get("/inbox", {"before": unknown}, headers=JSON).json()["items"] == []


def test_the_page_shows_what_it_is_given_inert(client: Client, mine: Target, others: Target) -> None:
    hostile = "<script>alert(1)</script>\"'&\x1b[31m"
    notify([mine.user_id], "<b>id</b>", title=hostile, url="/x/?a=<b>&b=\"'")
    notify(others.user_id, "x", title="Nobody else's business")
    InboxMute.objects.create(stream=mine.stream, event_id="<i>muted</i>")
    answer = client.get("/inbox", {"undo": '"><script>'})
    page = answer.content.decode()
    assert answer["Content-Type"].startswith("text/html")
    assert "1 unread" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'href="/x/?a=&lt;b&gt;&amp;b=&quot;&#x27;"' in page
    for tag in ("<script>alert", "<b>", "<i>", '"><script>', "\x1b", "Nobody else"):
        assert tag not in page
    # Sees to it that an empty one works too, and one with more than people count.
    InboxItem.objects.all().delete()
    assert "Nothing here" in client.get("/inbox").content.decode()


def test_a_project_without_templates_has_the_page_too(client: Client, settings: Settings) -> None:
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": []}]
    page = client.get("/inbox").content.decode()
    assert "<!doctype html>" in page
    assert "Nothing here" in page
    assert "Message Flow" not in page


def test_the_page_counts_as_far_as_people_do(client: Client, mine: Target) -> None:
    InboxItem.objects.bulk_create(
        InboxItem(stream=mine.stream, user_id="", mid=f"{n:032x}", event_id="x", title="t") for n in range(UNREAD_MAX)
    )
    page = client.get("/inbox").content.decode()
    assert "999+ unread" in page
    assert "?before=" in page


def test_a_page_costs_the_same_for_one_item_and_for_thirty(
    client: Client, mine: Target, notified: Notified, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.get("/inbox", headers=JSON)
    for count in (1, 30):
        notified(mine, count)
        # Session, user; cursor; items, count, mutes. The page of this site has a bell beside that.
        for headers, queries in ((JSON, 6), ({}, 7)):
            with django_assert_num_queries(queries):
                client.get("/inbox", headers=headers)


# Changing ----------------------------------------------------------------------------------------


def test_each_change_answers_with_the_count(client: Client, mine: Target, notified: Notified) -> None:
    mids = notified(mine, 5)
    assert post(client, "inbox_read", mid=mids[:2])["unread"] == 3
    assert post(client, "inbox_unread", mid=mids[0]) == {"unread": 4, "undo": None}
    up_to = post(client, "inbox_read", upto=mids[2])
    assert up_to["unread"] == 2
    everything = post(client, "inbox_read", upto="all")
    assert everything["unread"] == 0
    assert post(client, "inbox_read", upto="all") == {"unread": 0, "undo": None}
    assert post(client, "inbox_unread", undo=up_to["undo"])["unread"] == 2
    assert post(client, "inbox_unread", undo=everything["undo"])["unread"] == 4
    assert post(client, "inbox_hide", mid=mids[3:])["unread"] == 2
    post(client, "inbox_mute", id="x")
    notified(mine, 1)
    assert client.get("/inbox", headers=JSON).json()["muted"] == ["x"]
    assert post(client, "inbox_unmute", id="x")["unread"] == 2


def test_a_form_goes_back_to_its_page(client: Client, mine: Target, notified: Notified) -> None:
    mids = notified(mine, 2)
    answer = client.post("/inbox/read", {"upto": "all", "before": mids[1]})
    assert answer.status_code == 303
    location = urlsplit(answer["Location"])
    query = parse_qs(location.query)
    assert (location.netloc, location.path, query["before"]) == ("", "/inbox", [mids[1]])
    assert "Undo" in client.get(answer["Location"]).content.decode()
    answer = client.post("/inbox/unread", {"undo": query["undo"][0]})
    assert (answer.status_code, answer["Location"]) == (303, "/inbox")
    assert listing.unread(mine.stream) == 2
    for hostile in ("//evil.example", "https://evil.example", "x\r\nSet-Cookie: a=b"):
        answer = client.post("/inbox/hide", {"mid": mids[0], "before": hostile, "next": hostile})
        assert answer["Location"].startswith("/inbox?before=")
        assert "Set-Cookie:" not in answer["Location"]


def test_requests_that_mean_nothing_are_refused(
    client: Client, mine: Target, notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MIDS_MAX", 3)
    monkeypatch.setattr(changes, "MUTES_MAX", 1)
    notified(mine, 1)
    for name in ("inbox_read", "inbox_unread", "inbox_hide"):
        for fields in ({}, {"mid": ["x"] * 4}):
            assert client.post(reverse(f"realtime:{name}"), fields).status_code == 400
    for event_id in ("", "AUTH OK", "\0"):
        assert client.post("/inbox/mute", {"id": event_id}).status_code == 400
    post(client, "inbox_mute", id="a")
    assert "1 event ids" in client.post("/inbox/mute", {"id": "b"}).json()["error"]
    assert listing.muted(mine.stream) == ["a"]
    assert listing.unread(mine.stream) == 1


# Who may -----------------------------------------------------------------------------------------


def test_strangers_are_sent_to_sign_in_and_their_scripts_refused() -> None:
    stranger = Client()
    for path in ("/inbox", *(reverse(f"realtime:{name}") for name in POSTS)):
        method = stranger.get if path == "/inbox" else stranger.post
        answer = method(path, headers=JSON)
        assert (answer.status_code, answer.json()) == (401, {"error": "not signed in"})
        answer = method(path)
        assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=/inbox")


@pytest.mark.parametrize("name", POSTS)
def test_a_change_is_posted_with_a_csrf_token(
    mine: Target, client_of: Any, notified: Notified, settings: Settings, name: str
) -> None:
    # By the view itself, whatever the middleware of the project.
    settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "Csrf" not in one]
    [mid] = notified(mine, 1)
    strict = client_of(mine, enforce_csrf_checks=True)
    path = reverse(f"realtime:{name}")
    fields = {"mid": mid, "id": "x"}
    StoredEvent.objects.all().delete()
    assert strict.post(path, fields, headers=JSON).status_code == 403
    assert strict.post(path, {**fields, "csrfmiddlewaretoken": "x" * 32}).status_code == 403
    assert strict.get(path, fields).status_code == 405
    assert not InboxMute.objects.exists()
    assert not StoredEvent.objects.exists()


@pytest.mark.parametrize("name", POSTS)
def test_a_change_with_the_token_of_the_page_is_made(
    mine: Target, client_of: Any, notified: Notified, name: str
) -> None:
    [mid] = notified(mine, 1)
    strict = client_of(mine, enforce_csrf_checks=True)
    strict.get("/inbox")
    token = strict.cookies["csrftoken"].value
    answer = strict.post(reverse(f"realtime:{name}"), {"mid": mid, "id": "x", "csrfmiddlewaretoken": token})
    assert answer.status_code == 303


def test_nobody_changes_what_is_another_s_or_learns_that_it_is_there(
    client: Client, mine: Target, others: Target, notified: Notified
) -> None:
    foreign = notified(others, 2)
    notified(mine, 1)
    changes.read(others, foreign[:1])
    undo = changes.read_all(others)
    before = list(InboxItem.objects.filter(stream=others.stream).order_by("id").values())
    for mid, token in ((foreign[0], undo), ("0" * 32, "0" * 20)):
        tried = [
            post(client, "inbox_read", mid=mid),
            post(client, "inbox_read", upto=mid),
            post(client, "inbox_unread", mid=mid),
            post(client, "inbox_unread", undo=token),
            post(client, "inbox_hide", mid=mid),
        ]
        # The same answers as for what never was.
        assert tried == [{"unread": 1, "undo": None}] * 5
    assert list(InboxItem.objects.filter(stream=others.stream).order_by("id").values()) == before
    assert not StoredEvent.objects.filter(stream=mine.stream, event_id="inbox/CHANGED").exists()
