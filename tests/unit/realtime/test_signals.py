"""What begins, ends and is told when Django says that something changed (docs/tokens.md, docs/topics.md)."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from apps.realtime import notify
from apps.realtime.core.control import Asked, Change, message_of
from apps.realtime.core.names import CONTROL
from apps.realtime.models import InboxItem, SignIn
from apps.realtime.signals import USERS_MAX
from tests.unit.conftest import MakeUser, RecordingPublisher

# What is told is told after the commit.
pytestmark = pytest.mark.django_db(transaction=True)

Told = Callable[[], list[Change | Asked | None]]


@pytest.fixture
def told(published: RecordingPublisher) -> Told:
    """The changes that the nodes have been told since the last call."""

    def take() -> list[Change | Asked | None]:
        events = list(published.events)
        published.events.clear()
        assert all(event.stream == CONTROL for event in events)
        return [message_of(event) for event in events]

    return take


@pytest.fixture
def alice(make_user: MakeUser, told: Told) -> Any:
    """A user; that there is one more is nobody's business."""
    alice = make_user("alice")
    assert told() == []
    return alice


def request_of(user: Any) -> HttpRequest:
    request = RequestFactory().get("/")
    SessionMiddleware(lambda _: HttpResponse()).process_request(request)
    request.user = AnonymousUser()
    login(request, user)
    return request


def permission(codename: str = "view_group") -> Permission:
    return Permission.objects.get(codename=codename)


def test_a_program_that_signs_a_user_out_without_a_session_ends_nothing(alice: Any, told: Told) -> None:
    SignIn.touch("m" * 32, str(alice.pk), "")
    for request in (None, RequestFactory().get("/")):
        user_logged_out.send(sender=type(alice), request=request, user=alice)
    assert SignIn.standing(["m" * 32]).keys() == {("m" * 32, str(alice.pk))}
    assert told() == []


def test_a_program_that_signs_a_user_in_without_a_session_needs_no_mark(alice: Any) -> None:
    for request in (None, RequestFactory().get("/")):
        user_logged_in.send(sender=type(alice), request=request, user=alice)
    assert SignIn.objects.count() == 0


def test_a_sign_out_is_told_and_a_sign_in_is_not(alice: Any, told: Told) -> None:
    request = request_of(alice)
    assert told() == []
    logout(request)
    assert told() == [Change(str(alice.pk))]
    logout(request)
    assert told() == []


def test_a_user_who_is_saved_or_deleted_is_told(alice: Any, told: Told) -> None:
    pk = str(alice.pk)
    alice.set_password("another password")
    alice.save()
    assert told() == [Change(pk)]
    alice.is_active = False
    alice.save(update_fields=["is_active"])
    assert told() == [Change(pk)]
    alice.save(update_fields=["last_login", "first_name"])
    assert told() == []
    alice.delete()
    assert told() == [Change(pk)]


def test_a_change_is_told_when_it_is_committed(alice: Any, told: Told) -> None:
    with transaction.atomic():
        alice.save()
        assert told() == []
    assert told() == [Change(str(alice.pk))]
    with transaction.atomic():
        alice.save()
        transaction.set_rollback(True)
    assert told() == []


def test_the_inbox_of_a_deleted_user_goes_after_the_commit_and_stays_without_one(alice: Any) -> None:
    notify(alice, "x", title="Hello")
    for commits in (False, True):
        user = type(alice).objects.get(pk=alice.pk)
        with transaction.atomic():
            with CaptureQueriesContext(connection) as captured:
                user.delete()
            # Whoever numbers would wait for what is locked here.
            assert not [query for query in captured if InboxItem._meta.db_table in query["sql"]]
            transaction.set_rollback(not commits)
        assert InboxItem.objects.count() == (not commits)


def test_groups_and_permissions_of_a_user_are_told_from_either_side(
    alice: Any, make_user: MakeUser, told: Told
) -> None:
    bob, staff = make_user("bob"), Group.objects.create(name="staff")
    one, other = Change(str(alice.pk)), Change(str(bob.pk))
    alice.groups.add(staff)
    assert told() == [one]
    alice.groups.add(staff)  # it is in it already, and Django says so all the same
    told()
    alice.groups.remove(staff)
    assert told() == [one]
    staff.user_set.set([alice, bob])
    assert sorted(told(), key=str) == sorted([one, other], key=str)
    alice.groups.clear()
    assert told() == [one]
    # Who it was nobody can say any more.
    staff.user_set.clear()
    assert told() == [Change(None)]
    alice.user_permissions.add(permission())
    assert told() == [one]
    alice.user_permissions.set([])
    assert told() == [one]


def test_many_users_are_everybody(alice: Any, told: Told) -> None:
    staff = Group.objects.create(name="staff")
    users = get_user_model().objects
    users.bulk_create(get_user_model()(username=f"user-{number}") for number in range(USERS_MAX))
    staff.user_set.set(users.all())
    assert told() == [Change(None)]


def test_what_a_group_may_is_everybodys_business(alice: Any, told: Told) -> None:
    staff = Group.objects.create(name="staff")
    staff.permissions.add(permission())
    assert told() == [Change(None)]
    staff.permissions.remove(permission())
    assert told() == [Change(None)]
    staff.delete()
    assert Change(None) in told()


def test_a_permission_that_goes_takes_the_right_along(alice: Any, told: Told) -> None:
    extra = Permission.objects.create(codename="extra", name="extra", content_type=permission().content_type)
    told()
    extra.delete()
    assert Change(None) in told()


def test_other_relations_are_nothing_to_us(alice: Any, told: Told) -> None:
    from django.db.models.signals import m2m_changed

    m2m_changed.send(
        sender=Permission, instance=alice, action="post_add", reverse=False, pk_set={1}, using="default", model=Group
    )
    assert told() == []
