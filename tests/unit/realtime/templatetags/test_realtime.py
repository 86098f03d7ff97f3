"""`{% realtime_cursor %}` and `{% realtime_bell %}`."""

import json
import re
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.realtime import cursor
from apps.realtime.core.names import user_stream
from apps.realtime.cursors import CursorNotTaken
from apps.realtime.models import InboxItem, Stream

from ...conftest import MakeUser


def render(tag: str = "realtime_cursor", **context: Any) -> str:
    return Template(f"{{% load realtime %}}{{% {tag} %}}").render(Context(context))


@pytest.fixture
def request_of_nobody(rf: RequestFactory) -> HttpRequest:
    return rf.get("/")


@pytest.mark.django_db
def test_it_prints_what_was_taken(request_of_nobody: HttpRequest, make_user: MakeUser) -> None:
    request_of_nobody.user = alice = make_user()
    Stream.objects.create(name="all", epoch="</script>", head=3)
    cursor(request_of_nobody)
    text = render(request=request_of_nobody)
    block = re.fullmatch(r'<script id="realtime-cursor" type="application/json">([^<>&]*)</script>', text)
    assert block is not None
    printed = json.loads(block[1])
    assert printed.keys() == {user_stream(str(alice.pk)), "all"}
    assert printed["all"] == {"epoch": "</script>", "seq": 3}


def test_the_reader_may_be_nobody(request_of_nobody: HttpRequest) -> None:
    cursor(request_of_nobody)
    assert ">{}<" in render(request=request_of_nobody)


def test_one_that_was_not_taken_names_the_decorator(request_of_nobody: HttpRequest) -> None:
    with pytest.raises(CursorNotTaken, match=r"@with_cursor\(\)"):
        render(request=request_of_nobody)


def test_a_template_without_its_request() -> None:
    with pytest.raises(CursorNotTaken, match="context processor"):
        render()


def add_items(user: Any, number: int, **fields: Any) -> None:
    stream = user_stream(str(user.pk))
    InboxItem.objects.bulk_create(
        InboxItem(stream=stream, user_id=str(user.pk), mid=f"{user.pk}-{len(fields)}-{n}", event_id="a/B", **fields)
        for n in range(number)
    )


@pytest.mark.django_db
def test_a_bell_without_scripts_is_a_link_with_the_count(
    request_of_nobody: HttpRequest, make_user: MakeUser, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    request_of_nobody.user = alice = make_user()
    add_items(alice, 2)
    add_items(alice, 3, read_at=timezone.now())
    add_items(alice, 4, read_at=None, hidden=True)
    add_items(make_user("bob"), 5)
    with django_assert_num_queries(1):
        text = render("realtime_bell", request=request_of_nobody)
    bell = re.fullmatch(r'<realtime-bell ([^<>]*)><a href="/inbox">Notifications \(2\)</a></realtime-bell>', text)
    assert bell is not None
    attributes = dict(re.findall(r'(\w+)="([^"]*)"', bell[1]))
    # It is masked anew each time.
    assert len(attributes.pop("csrf")) == len(get_token(request_of_nobody))
    assert attributes == {"unread": "2", "inbox": "/inbox", "socket": "/websocket", "token": "/socket_auth_token"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("number", "link"), [(0, "Notifications"), (999, "Notifications (999)"), (1002, "Notifications (999+)")]
)
def test_the_bell_counts_so_far(request_of_nobody: HttpRequest, make_user: MakeUser, number: int, link: str) -> None:
    request_of_nobody.user = alice = make_user()
    add_items(alice, number)
    text = render("realtime_bell", request=request_of_nobody)
    assert f">{link}<" in text
    assert f' unread="{min(number, 1000)}" ' in text


def test_nobody_has_no_bell(request_of_nobody: HttpRequest) -> None:
    assert render("realtime_bell", request=request_of_nobody) == ""


def test_a_bell_in_a_template_without_its_request() -> None:
    with pytest.raises(ImproperlyConfigured, match="context processor"):
        render("realtime_bell")
