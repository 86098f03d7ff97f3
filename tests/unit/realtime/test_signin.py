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
from apps.realtime.signin import SESSION_KEY, end_sign_in, mark_of, requesting_user
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db


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


def test_after_a_password_change_the_mark_is_new(make_user: MakeUser) -> None:
    alice = make_user()
    request = request_of(alice)
    mark = mark_of(request, alice)
    alice.set_password("another password")
    alice.save()
    assert mark_of(request, alice) != mark


def test_a_mark_of_the_user_who_was_here_before_is_not_reused(make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    request = request_of(alice)
    mark = mark_of(request, alice)
    request.user = bob
    assert mark_of(request, bob) != mark


def test_sign_out_ends_this_sign_in_and_no_other(make_user: MakeUser) -> None:
    alice = make_user()
    here, there = request_of(alice), request_of(alice)
    ended, other = mark_of(here, alice), mark_of(there, alice)
    logout(here)
    assert list(SignIn.objects.values_list("mark", flat=True)) == [other]
    assert ended != other


def test_a_sign_out_without_a_token_ends_nothing(make_user: MakeUser) -> None:
    alice = make_user()
    SignIn.touch(None, str(alice.pk), "hash")
    end_sign_in(request_of(alice))
    assert SignIn.objects.count() == 1


def test_who_comes_by_another_way_than_the_session_gets_a_mark_for_each_token(make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    bare = RequestFactory().get("/")
    assert mark_of(bare, alice) != mark_of(bare, alice)
    in_bobs_session = request_of(bob)
    mark_of(in_bobs_session, alice)
    assert SESSION_KEY not in in_bobs_session.session


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
    assert SignIn.objects.count() == 0
