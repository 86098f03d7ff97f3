"""`{% realtime_cursor %}`."""

import json
import re
from typing import Any

import pytest
from django.http import HttpRequest
from django.template import Context, Template
from django.test import RequestFactory

from apps.realtime import cursor
from apps.realtime.core.names import user_stream
from apps.realtime.cursors import CursorNotTaken
from apps.realtime.models import Stream

from ...conftest import MakeUser


def render(**context: Any) -> str:
    return Template("{% load realtime %}{% realtime_cursor %}").render(Context(context))


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
