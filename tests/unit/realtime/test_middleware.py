"""The cookie of a 2016 page goes when its sign-in changes (docs/tokens.md)."""

import pytest
from django.test import Client

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
