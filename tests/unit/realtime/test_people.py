"""Whom a text means (docs/commands.md)."""

import pytest

from apps.realtime.people import users_meant
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db


def test_a_user_is_meant_by_name_or_by_key(make_user: MakeUser) -> None:
    alice = make_user("alice")
    make_user("bob")
    assert users_meant("alice") == [alice] == users_meant(str(alice.pk))


def test_a_name_that_is_the_key_of_another_means_both_the_name_first(make_user: MakeUser) -> None:
    alice = make_user("alice")
    number = make_user(str(alice.pk))
    assert users_meant(str(alice.pk)) == [number, alice]
    own = make_user("9999", pk=9999)
    assert users_meant("9999") == [own]


@pytest.mark.parametrize("text", ["", "nobody", "0", "-1", "9" * 30, "1.5", "\0", "' OR 1=1 --", "x" * 10_000])
def test_what_names_nobody_means_nobody(make_user: MakeUser, text: str) -> None:
    make_user("alice")
    assert users_meant(text) == []
