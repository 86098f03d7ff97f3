"""Sign-in, sign-out, password change and the user's own page."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects, assertTemplateUsed

PASSWORD = "correct horse battery staple"

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ann", password=PASSWORD)


def test_sign_in_leads_where_one_wanted_to_go(client: Client, user: User) -> None:
    page = client.get("/demo/articles/")
    assertRedirects(page, "/accounts/login/?next=/demo/articles/")
    answer = client.post(page.headers["Location"], {"username": "ann", "password": PASSWORD, "next": "/demo/articles/"})
    assertRedirects(answer, "/demo/articles/")


def test_sign_in_leads_home_and_never_to_another_site(client: Client, user: User) -> None:
    form = {"username": "ann", "password": PASSWORD, "next": "https://evil.test/"}
    assertRedirects(client.post("/accounts/login/", form), "/")


def test_who_is_signed_in_needs_no_sign_in(client: Client, user: User) -> None:
    client.force_login(user)
    assertRedirects(client.get("/accounts/login/"), "/")


@pytest.mark.parametrize("demo", [True, False])
def test_the_demo_users_are_named_on_a_demo_site_only(client: Client, settings: Settings, demo: bool) -> None:
    settings.DEMO = demo
    page = client.get("/accounts/login/")
    (assertContains if demo else assertNotContains)(page, "alice")


def test_sign_out_is_a_post(client: Client, user: User) -> None:
    client.force_login(user)
    assert client.get("/accounts/logout/").status_code == 405
    assertRedirects(client.post("/accounts/logout/"), "/accounts/login/")
    assert "_auth_user_id" not in client.session


def test_password_change(client: Client, user: User) -> None:
    client.force_login(user)
    assertTemplateUsed(client.get("/accounts/password_change/"), "accounts/change_password.html")
    form = {"old_password": PASSWORD, "new_password1": "another fine phrase", "new_password2": "another fine phrase"}
    answer = client.post("/accounts/password_change/", form)
    assertRedirects(answer, "/accounts/password_change/done/")
    user.refresh_from_db()
    assert user.check_password("another fine phrase")


def test_a_refused_password_says_why(client: Client, user: User) -> None:
    client.force_login(user)
    form = {"old_password": "wrong", "new_password1": "12345", "new_password2": "12345"}
    page = client.post("/accounts/password_change/", form)
    assertContains(page, "Your old password was entered incorrectly")
    assertContains(page, "too short")


@pytest.mark.parametrize(
    ("is_staff", "is_superuser", "role"),
    [(False, False, "Member"), (True, False, "Staff"), (True, True, "Administrator")],
)
def test_profile(client: Client, user: User, is_staff: bool, is_superuser: bool, role: str) -> None:
    user.is_staff, user.is_superuser = is_staff, is_superuser
    user.save()
    client.force_login(user)
    assertContains(client.get("/accounts/profile/"), role)


@pytest.mark.parametrize("path", ["profile/", "password_change/", "password_change/done/"])
def test_these_pages_ask_for_a_sign_in(client: Client, path: str) -> None:
    assertRedirects(client.get(f"/accounts/{path}"), f"/accounts/login/?next=/accounts/{path}")


def test_a_form_from_before_the_sign_in_is_told_to_reload(user: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    page = strict.post("/accounts/login/", {"username": "ann", "password": PASSWORD})
    assertContains(page, "Out of date", status_code=403)
