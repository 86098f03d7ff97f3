"""The rows behind tokens (docs/tokens.md)."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.realtime.models import UNUSED_AFTER, SignIn

pytestmark = pytest.mark.django_db


def age(mark: str, by: timedelta) -> None:
    SignIn.objects.filter(mark=mark).update(seen_at=timezone.now() - by)


def test_a_living_mark_is_used_again() -> None:
    mark = SignIn.touch(None, "7", "hash")
    age(mark, timedelta(hours=1))
    assert SignIn.touch(mark, "7", "hash") == mark
    assert timezone.now() - SignIn.objects.get().seen_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("user_id", "auth_hash"), [("7", "hash after a password change"), ("8", "hash")], ids=["password", "other user"]
)
def test_a_mark_that_does_not_fit_any_more_is_replaced(user_id: str, auth_hash: str) -> None:
    old = SignIn.touch(None, "7", "hash")
    new = SignIn.touch(old, user_id, auth_hash)
    assert new != old
    assert SignIn.objects.get(mark=new).user_id == user_id
    assert SignIn.objects.get(mark=old).auth_hash == "hash"


@pytest.mark.parametrize("mark", [None, "", "unknown"])
def test_an_unknown_mark_is_never_taken_over(mark: str | None) -> None:
    assert SignIn.touch(mark, "7", "hash") not in (None, "", "unknown")


def test_marks_cannot_be_guessed() -> None:
    marks = {SignIn.touch(None, "7", "hash") for _ in range(20)}
    assert len(marks) == 20
    assert all(len(mark) == 32 for mark in marks)


def test_a_new_sign_in_prunes_the_same_user_s_unused_ones() -> None:
    unused, used, foreign = (SignIn.touch(None, user_id, "hash") for user_id in ("7", "7", "8"))
    age(unused, UNUSED_AFTER + timedelta(minutes=1))
    age(foreign, UNUSED_AFTER + timedelta(minutes=1))
    age(used, UNUSED_AFTER - timedelta(minutes=1))
    new = SignIn.touch(None, "7", "hash")
    assert set(SignIn.objects.values_list("mark", flat=True)) == {used, foreign, new}


def test_it_names_no_mark_in_its_text() -> None:
    mark = SignIn.touch(None, "7", "hash")
    assert str(SignIn.objects.get()) == "sign-in of user 7"
    assert mark not in str(SignIn.objects.get())
