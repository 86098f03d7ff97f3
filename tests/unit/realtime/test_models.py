"""The rows behind tokens (docs/tokens.md)."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.realtime.models import SignIn

pytestmark = pytest.mark.django_db

MARK, OTHER = "m" * 32, "o" * 32


def stands(mark: str, user_id: str) -> bool:
    """Whether tokens of this sign-in open sockets."""
    return (mark, user_id) in SignIn.standing([mark])


def age(mark: str, by: timedelta) -> None:
    SignIn.objects.filter(mark=mark).update(seen_at=timezone.now() - by)


def test_a_sign_in_stands_from_its_first_token_to_its_end() -> None:
    assert not stands(MARK, "7")
    assert SignIn.touch(MARK, "7", "p")
    assert stands(MARK, "7")
    SignIn.end(MARK, "7")
    assert not stands(MARK, "7")


def test_touching_again_renews() -> None:
    SignIn.touch(MARK, "7", "p")
    age(MARK, timedelta(hours=1))
    assert SignIn.touch(MARK, "7", "p")
    assert timezone.now() - SignIn.objects.get().seen_at < timedelta(minutes=1)


def test_a_request_that_was_under_way_at_the_sign_out_brings_nothing_back() -> None:
    SignIn.touch(MARK, "7", "p")
    SignIn.end(MARK, "7")
    assert not SignIn.touch(MARK, "7", "p")
    # Nor does one that is the first to ask.
    SignIn.end(OTHER, "7")
    assert not SignIn.touch(OTHER, "7", "p")
    assert not stands(OTHER, "7")


def test_a_session_may_go_on_under_another_password() -> None:
    SignIn.touch(MARK, "7", "p")
    SignIn.renew(MARK, "8", "q")
    assert SignIn.objects.get().password == "p"
    SignIn.renew(MARK, "7", "q")
    assert SignIn.objects.get().password == "q"
    SignIn.touch(MARK, "7", "r")
    assert SignIn.objects.get().password == "r"
    SignIn.end(MARK, "7")
    SignIn.renew(MARK, "7", "s")
    assert not stands(MARK, "7")
    # No token was issued in it: nothing hangs on it.
    SignIn.renew(OTHER, "7", "q")
    assert SignIn.objects.count() == 1


def test_all_sign_ins_of_a_user_end_or_all_but_one() -> None:
    for mark, user_id in ((MARK, "7"), (OTHER, "7"), ("f" * 32, "8")):
        SignIn.touch(mark, user_id, "p")
    SignIn.end_all("7", MARK)
    assert [stands(*one) for one in ((MARK, "7"), (OTHER, "7"), ("f" * 32, "8"))] == [True, False, True]
    SignIn.end_all("7", None)
    assert [stands(*one) for one in ((MARK, "7"), (OTHER, "7"), ("f" * 32, "8"))] == [False, False, True]


def test_a_mark_serves_its_own_user_only() -> None:
    SignIn.touch(MARK, "7", "p")
    assert not SignIn.touch(MARK, "8", "p")
    assert not stands(MARK, "8")
    assert SignIn.objects.get().user_id == "7"


def test_a_new_sign_in_prunes_the_same_user_s_that_outlived_their_session(settings: Settings) -> None:
    over = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    for mark, user_id in ((MARK, "7"), (OTHER, "7"), ("f" * 32, "8")):
        SignIn.touch(mark, user_id, "p")
    age(MARK, over + timedelta(minutes=1))
    age("f" * 32, over + timedelta(minutes=1))
    age(OTHER, over - timedelta(minutes=1))
    SignIn.touch("n" * 32, "7", "p")
    assert set(SignIn.objects.values_list("mark", flat=True)) == {OTHER, "f" * 32, "n" * 32}


def test_it_names_no_mark_in_its_text() -> None:
    SignIn.touch(MARK, "7", "p")
    assert str(SignIn.objects.get()) == "sign-in of user 7"
