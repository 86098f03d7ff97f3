"""What happens when a sign-in changes (docs/tokens.md)."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient, Client
from pytest_django import Settings

from apps.realtime.models import SignIn
from apps.realtime.signin import password_digest
from apps.realtime.tracing import request_id
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db
PASSWORD = "password of alice"


@pytest.fixture
def page(client: Client, make_user: MakeUser) -> Client:
    """Alice's browser with the cookie that the old script wrote."""
    make_user("alice")
    client.cookies["auth_token"] = "old.token"
    return client


def is_expired(response: object) -> bool:
    cookie = getattr(response, "cookies", {}).get("auth_token")
    return cookie is not None and cookie.value == "" and cookie["max-age"] == 0 and cookie["path"] == "/"


def test_sign_in_and_sign_out_expire_it(page: Client) -> None:
    credentials = {"username": "alice", "password": PASSWORD}
    assert is_expired(page.post("/accounts/login/", credentials))
    page.cookies["auth_token"] = "new.token"
    assert is_expired(page.post("/accounts/logout/"))


def test_a_password_change_expires_it(page: Client) -> None:
    page.login(username="alice", password=PASSWORD)
    page.cookies["auth_token"] = "new.token"
    new = "a quite new passphrase"
    response = page.post(
        "/accounts/password_change/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    )
    assert response.status_code == 302
    assert is_expired(response)


def test_any_other_answer_leaves_it(page: Client) -> None:
    assert not is_expired(page.get("/accounts/login/"))
    assert not is_expired(page.post("/accounts/login/", {"username": "alice", "password": "wrong"}))
    page.login(username="alice", password=PASSWORD)
    assert not is_expired(page.get("/socket_auth_token"))
    assert not is_expired(page.get("/socket_auth_token"))


def test_who_has_none_is_sent_none(client: Client, make_user: MakeUser) -> None:
    make_user("alice")
    response = client.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    assert response.status_code == 302
    assert "auth_token" not in response.cookies


BACKENDS = ["db", "cached_db", "cache", "file", "signed_cookies"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_session_that_changes_the_password_goes_on_and_no_other(
    make_user: MakeUser, settings: Settings, tmp_path: Path, backend: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{backend}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    alice = make_user("alice")
    here, there = Client(), Client()
    for browser in (here, there):
        browser.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
        assert browser.get("/socket_auth_token").status_code == 200
    new = "a quite new passphrase"
    here.post("/accounts/password_change/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    alice.refresh_from_db()
    renewed = SignIn.objects.filter(password=password_digest(alice), ended=False)
    assert [sign_in.mark for sign_in in renewed] == [here.session["message_flow_mark"]]
    # And a sign-out ends it, whatever keeps the session.
    cookie = here.cookies[settings.SESSION_COOKIE_NAME].value
    here.post("/accounts/logout/")
    assert not SignIn.objects.filter(password=password_digest(alice), ended=False).exists()
    here.cookies[settings.SESSION_COOKIE_NAME] = cookie
    assert here.get("/socket_auth_token").status_code == 401


def test_a_session_that_is_not_changed_costs_nothing(
    client: Client, make_user: MakeUser, django_assert_num_queries: Any
) -> None:
    client.force_login(make_user("alice"))
    with django_assert_num_queries(0):
        client.get("/healthz")


# The id of a request -----------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["0123456789abcdef" * 2, None, "'; DROP TABLE"])
def test_a_request_has_an_id_which_its_answer_names(client: Client, sent: str | None) -> None:
    headers = {} if sent is None else {"X-Request-ID": sent}
    first, second = (client.get("/healthz", headers=headers).headers["X-Request-ID"] for _ in range(2))
    assert len(first) == 32
    assert (first == sent) == (second == first) == (sent == "0123456789abcdef" * 2)


def test_what_django_says_of_a_failure_has_it_too(client: Client) -> None:
    ids: list[str] = []
    logger = logging.getLogger("django.request")

    def remember(record: logging.LogRecord) -> bool:
        ids.append(request_id())
        return True

    logger.addFilter(remember)
    response = client.get("/nothing-is-here/")
    logger.removeFilter(remember)
    assert (response.status_code, ids) == (404, [response.headers["X-Request-ID"]])
    assert request_id() == ""


async def test_in_an_async_server_requests_have_ids_of_their_own(async_client: AsyncClient) -> None:
    answers = await asyncio.gather(*(async_client.get("/healthz") for _ in range(5)))
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 5
    assert request_id() == ""
