"""The open sockets of all nodes (docs/admin.md, "Live sessions")."""

from dataclasses import replace
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from pytest_django import Settings

from apps.realtime.admin import sessions as module
from apps.realtime.core.live import LiveSession
from apps.realtime.node_models import LiveNode, NodeRequest
from apps.realtime.publishing.asking import Report, SilentNode
from tests.unit.conftest import MakeUser, RecordingPublisher

from .conftest import StaffClient

pytestmark = pytest.mark.django_db
PAGE, KICK = "/admin/message_flow/livenode/", "/admin/message_flow/livenode/kick/"
SID = "0123456789abcdef"
HOSTILE = '<script>alert("1")</script>'
TAB = LiveSession("web:12", SID, "7", "alice", "v1", 1_800_000_000, ("news", "order-1"), 3, 12, 4, "192.0.2.1")
NOTHING = Report([], 0, 0, 2, [], None)


class Nodes:
    """Stands in for the nodes; `asked` holds what they were asked."""

    def __init__(self) -> None:
        self.report = NOTHING
        self.asked: list[Any] = []

    def list_sessions(self, user_id: str | None = None) -> Report:
        self.asked.append(user_id)
        return self.report

    def kick(self, **which: Any) -> Report:
        self.asked.append(which)
        return self.report


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    nodes = Nodes()
    monkeypatch.setattr(module, "list_sessions", nodes.list_sessions)
    monkeypatch.setattr(module, "kick", nodes.kick)
    return nodes


def page(client: Client, **query: str) -> str:
    answer = client.get(PAGE, query)
    assert answer.status_code == 200
    return answer.content.decode()


# The list ----------------------------------------------------------------------------------------


def test_it_shows_each_session(admin_client: Client, nodes: Nodes) -> None:
    nodes.report = replace(NOTHING, sessions=[TAB], total=1)
    shown = page(admin_client)
    for part in (SID, "alice (7)", "web:12", "v1", "2027-01-15 08:00:00", "news, order-1 and 3 more", "192.0.2.1"):
        assert part in shown
    assert "1 session on 2 nodes" in shown
    assert nodes.asked == [None]


def test_it_shows_what_is_not_known(admin_client: Client, nodes: Nodes) -> None:
    nobody = LiveSession("web:12", SID, None, "", "seed", 1_800_000_000, (), 0, None, None, None)
    nodes.report = replace(
        NOTHING, sessions=[nobody], total=1, answered=1, silent=[SilentNode("web:13", 41.7)], problem="it refuses"
    )
    shown = page(admin_client)
    assert "(not authenticated)" in shown
    assert "No answer from web:13, seen 42 s ago. The broker cannot be reached from here: it refuses" in shown


def test_it_may_be_of_one_user(admin_client: Client, nodes: Nodes, make_user: MakeUser) -> None:
    alice = make_user("alice")
    for query in ({"q": "alice"}, {"q": f" {alice.pk} "}, {"user": str(alice.pk)}, {"user": "9999"}):
        page(admin_client, **query)
    assert nodes.asked == [str(alice.pk)] * 3 + ["9999"]


def test_of_two_who_may_be_meant_one_is_chosen(admin_client: Client, nodes: Nodes, make_user: MakeUser) -> None:
    alice = make_user("alice")
    number = make_user(str(alice.pk))
    shown = page(admin_client, q=str(alice.pk))
    assert f'<a href="?user={alice.pk}">alice (key {alice.pk})</a>' in shown
    assert f'<a href="?user={number.pk}">{alice.pk} (key {number.pk})</a>' in shown
    assert nodes.asked == []


@pytest.mark.parametrize("query", [{"q": "nobody"}, {"q": "\0"}, {"user": ""}, {"user": "\0"}, {"user": "x" * 300}])
def test_of_nobody_nothing_is_asked(admin_client: Client, nodes: Nodes, query: dict[str, str]) -> None:
    assert "No user is called so" in page(admin_client, **query)
    assert nodes.asked == []


def test_what_anybody_typed_is_shown_as_text(admin_client: Client, nodes: Nodes) -> None:
    hostile = replace(TAB, user_id=HOSTILE, username=HOSTILE, topics=(HOSTILE,), address=HOSTILE, node=HOSTILE)
    nodes.report = replace(NOTHING, sessions=[hostile], total=1, silent=[SilentNode(HOSTILE, 1)], problem=HOSTILE)
    for shown in (page(admin_client), page(admin_client, user=HOSTILE), page(admin_client, q=HOSTILE)):
        assert "<script>alert" not in shown
    nodes.report = replace(NOTHING, kicked=1)
    told = admin_client.post(KICK, {"user": HOSTILE, "listed": HOSTILE}, follow=True).content.decode()
    assert "Kicked the user of key &lt;script&gt;" in told
    assert "<script>alert" not in told


# Kick --------------------------------------------------------------------------------------------


def test_a_session_or_a_user_is_kicked_and_the_admin_s_log_knows(admin_client: Client, nodes: Nodes) -> None:
    nodes.report = replace(NOTHING, kicked=3)
    answer = admin_client.post(KICK, {"sid": SID})
    assert (answer.status_code, answer.headers["Location"]) == (302, PAGE)
    answer = admin_client.post(KICK, {"user": "7", "listed": "7"}, follow=True)
    assert answer.redirect_chain == [(f"{PAGE}?user=7", 302)]
    assert "Kicked the user of key 7: 3 sockets closed on 2 nodes" in answer.content.decode()
    assert nodes.asked[:2] == [{"sid": SID}, {"user_id": "7"}]
    entries = LogEntry.objects.order_by("id").values_list("object_repr", "change_message")
    assert [entry[0] for entry in entries] == [f"session {SID}", "user of key 7"]
    assert all("3 sockets closed" in message for _, message in entries)


def test_who_has_not_answered_is_named(admin_client: Client, nodes: Nodes) -> None:
    nodes.report = replace(NOTHING, silent=[SilentNode("web:13", 1)])
    told = admin_client.post(KICK, {"sid": SID}, follow=True).content.decode()
    assert "no answer from web:13. A node that lives looks within 30 s." in told


@pytest.mark.parametrize(
    "fields", [{}, {"sid": "all"}, {"sid": SID + "0"}, {"user": ""}, {"user": "\0"}, {"user": "x" * 300}]
)
def test_a_kick_of_nobody_is_none(admin_client: Client, nodes: Nodes, fields: dict[str, str]) -> None:
    assert admin_client.post(KICK, fields).status_code == 302
    assert nodes.asked == []
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("rights", [(), ("view_livenode",), ("kick_session",), ("view_stream", "view_storedevent")])
def test_a_kick_takes_its_own_permission(staff_client: StaffClient, nodes: Nodes, rights: tuple[str, ...]) -> None:
    client = staff_client(*rights)
    assert client.post(KICK, {"sid": SID}).status_code == 403
    assert nodes.asked == []


def test_the_page_offers_what_is_allowed(staff_client: StaffClient, nodes: Nodes) -> None:
    nodes.report = replace(NOTHING, sessions=[TAB], total=1)
    assert KICK not in page(staff_client("view_livenode"), user="7")


def test_who_may_kick_is_offered_it(staff_client: StaffClient, nodes: Nodes) -> None:
    nodes.report = replace(NOTHING, sessions=[TAB], total=1)
    client = staff_client("view_livenode", "kick_session")
    assert page(client, user="7").count(KICK) == 2
    assert page(client).count(KICK) == 1
    assert client.post(KICK, {"sid": SID}).status_code == 302


def test_who_is_no_staff_or_not_signed_in_kicks_nobody(nodes: Nodes, make_user: MakeUser) -> None:
    visitor, user = Client(), Client()
    user.force_login(make_user("alice"))
    for client in (visitor, user):
        answer = client.post(KICK, {"sid": SID})
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/login/?next={KICK}")
    assert nodes.asked == []


def test_another_site_s_form_kicks_nobody_and_a_link_neither(staff_client: StaffClient, nodes: Nodes) -> None:
    client = staff_client("view_livenode", "kick_session", csrf_checks=True)
    assert client.post(KICK, {"sid": SID}).status_code == 403
    assert client.get(KICK, {"sid": SID}).status_code == 405
    assert nodes.asked == []


def test_its_addresses_are_there_whatever_the_settings_say(settings: Settings) -> None:
    """Else `manage.py check` would end before it names the setting that is wrong."""
    settings.REALTIME_SECRET = "short"
    assert admin.site._registry[LiveNode].get_urls()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", [PAGE, KICK])
def test_a_request_s_own_transaction_does_not_hide_what_is_asked(
    admin_user: Any, published: RecordingPublisher, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """With ATOMIC_REQUESTS no node would see the row before the answer."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = Client()
    client.force_login(admin_user)
    answer = client.get(path) if path == PAGE else client.post(path, {"sid": SID})
    assert answer.status_code == (200 if path == PAGE else 302)
    assert NodeRequest.objects.count() == 1
    assert len(published.events) == 1
