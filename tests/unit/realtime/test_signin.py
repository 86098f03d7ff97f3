"""How a token follows its session (docs/tokens.md)."""

from typing import Any

import pytest
from django.contrib.auth import login, logout
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from apps.realtime.models import SignIn
from apps.realtime.signin import (
    NO_SESSION,
    SESSION_KEY,
    end_sign_in,
    end_sign_ins,
    mark_of,
    password_digest,
    requesting_user,
)
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db


def stands(mark: str, user_id: str) -> bool:
    """Whether tokens of this sign-in open sockets."""
    return (mark, user_id) in SignIn.standing([mark])


def request_of(user: Any = None) -> HttpRequest:
    """A request with a session, signed in as the user if there is one."""
    request = RequestFactory().get("/")
    SessionMiddleware(lambda _: HttpResponse()).process_request(request)
    request.user = AnonymousUser()
    if user is not None:
        login(request, user)
    return request


def by_header(request: HttpRequest) -> Any:
    """A hook as a site with mobile apps writes it."""
    from django.contrib.auth import get_user_model

    return get_user_model().objects.filter(username=request.headers.get("X-App-User", "")).first()


def test_one_session_keeps_one_mark(make_user: MakeUser) -> None:
    alice = make_user()
    request = request_of(alice)
    mark = mark_of(request, alice)
    assert request.session[SESSION_KEY] == mark
    assert mark_of(request, alice) == mark
    assert SignIn.objects.count() == 1


def test_two_sessions_have_two_marks(make_user: MakeUser) -> None:
    alice = make_user()
    assert mark_of(request_of(alice), alice) != mark_of(request_of(alice), alice)


def test_tabs_that_ask_at_the_same_moment_share_the_mark(make_user: MakeUser) -> None:
    """Each loads the session before the other has saved it: the mark is there since the sign-in."""
    alice = make_user()
    request = request_of(alice)
    request.session.save()
    marks = set()
    for _ in range(2):
        tab = RequestFactory().get("/")
        tab.session = type(request.session)(request.session.session_key)
        tab.user = alice
        marks.add(mark_of(tab, alice))
    assert len(marks) == 1
    logout(request)
    assert not any(stands(str(mark), str(alice.pk)) for mark in marks)


def test_signing_in_again_in_the_same_session_keeps_its_mark(make_user: MakeUser) -> None:
    alice = make_user()
    request = request_of(alice)
    mark = mark_of(request, alice)
    login(request, alice)
    assert mark_of(request, alice) == mark


def test_signing_in_again_after_the_sign_in_was_ended_is_another_one(make_user: MakeUser) -> None:
    alice = make_user()
    request = request_of(alice)
    mark = mark_of(request, alice)
    end_sign_ins(str(alice.pk), None)
    assert mark_of(request, alice) is None
    login(request, alice)
    assert mark_of(request, alice) not in (None, mark)
    assert not stands(str(mark), str(alice.pk))


def test_a_session_from_before_this_library_gets_a_mark_with_its_first_token(make_user: MakeUser) -> None:
    alice = make_user()
    request = request_of(alice)
    del request.session[SESSION_KEY]
    mark = mark_of(request, alice)
    assert mark
    assert mark_of(request, alice) == mark


def test_the_digest_ends_with_the_password_and_tells_nothing_of_it(make_user: MakeUser) -> None:
    alice = make_user()
    before = password_digest(alice)
    assert before == password_digest(alice)
    assert before not in alice.password
    assert before not in alice.get_session_auth_hash()
    alice.set_password("another password")
    assert password_digest(alice) != before


def test_another_user_in_the_same_session_has_another_mark(make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    request = request_of(alice)
    mark = mark_of(request, alice)
    login(request, bob)
    assert mark_of(request, bob) not in (None, mark)


def test_sign_out_ends_this_sign_in_and_no_other(make_user: MakeUser) -> None:
    alice = make_user()
    here, there = request_of(alice), request_of(alice)
    ended, other = mark_of(here, alice), mark_of(there, alice)
    logout(here)
    assert not stands(str(ended), str(alice.pk))
    assert stands(str(other), str(alice.pk))


def test_a_request_that_is_under_way_at_the_sign_out_gets_no_mark(make_user: MakeUser) -> None:
    alice = make_user()
    request = request_of(alice)
    end_sign_in(request, alice)
    assert mark_of(request, alice) is None


def test_who_comes_by_another_way_than_the_session_has_no_sign_in(make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    assert mark_of(RequestFactory().get("/"), alice) == NO_SESSION
    assert mark_of(request_of(bob), alice) == NO_SESSION
    assert SignIn.objects.count() == 0


def test_only_an_active_signed_in_user_counts(make_user: MakeUser) -> None:
    alice = make_user()
    assert requesting_user(request_of()) is None
    assert requesting_user(RequestFactory().get("/")) is None
    request = request_of(alice)
    assert requesting_user(request) == alice
    alice.is_active = False
    assert requesting_user(request) is None


def test_the_hook_says_who_a_request_is(make_user: MakeUser, settings: Settings) -> None:
    settings.REALTIME_REQUEST_USER = f"{__name__}.by_header"
    alice = make_user()
    assert requesting_user(RequestFactory().get("/", headers={"X-App-User": "alice"})) == alice
    assert requesting_user(RequestFactory().get("/", headers={"X-App-User": "nobody"})) is None
    # Where it names nobody, the session is not asked.
    assert requesting_user(request_of(alice)) is None


def test_a_whole_site_walk(make_user: MakeUser, client: Client) -> None:
    """Sign in, fetch two tokens, sign out: one sign-in while it lasted, none after it."""
    client.force_login(make_user())
    for _ in range(2):
        assert client.get("/socket_auth_token").status_code == 200
    assert SignIn.objects.count() == 1
    client.logout()
    assert SignIn.objects.get().ended
