"""What begins with a sign-in and ends with a sign-out (docs/tokens.md)."""

import pytest
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.test import RequestFactory

from apps.realtime.models import SignIn
from tests.unit.conftest import MakeUser


@pytest.mark.django_db
def test_a_program_that_signs_a_user_out_without_a_session_ends_nothing(make_user: MakeUser) -> None:
    alice = make_user()
    SignIn.touch("m" * 32, str(alice.pk))
    for request in (None, RequestFactory().get("/")):
        user_logged_out.send(sender=type(alice), request=request, user=alice)
    assert SignIn.stands("m" * 32, str(alice.pk))


@pytest.mark.django_db
def test_a_program_that_signs_a_user_in_without_a_session_needs_no_mark(make_user: MakeUser) -> None:
    alice = make_user()
    for request in (None, RequestFactory().get("/")):
        user_logged_in.send(sender=type(alice), request=request, user=alice)
    assert SignIn.objects.count() == 0
