"""What nodes are told at once (docs/tokens.md, docs/topics.md)."""

from typing import Any

import pytest
from django.contrib.auth import login
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from apps.realtime import BadRecipient, Topic, UnknownTopic, revoke, sign_out_everywhere
from apps.realtime.core.control import Change, message_of
from apps.realtime.signin import mark_of
from apps.realtime.topics import TopicRegistry
from tests.unit.conftest import MakeUser, RecordingPublisher


def test_a_right_is_revoked_by_name_or_topic_of_a_user_or_key(
    published: RecordingPublisher, topics: TopicRegistry
) -> None:
    revoke("7", "order-1")
    revoke(7, Topic("news"))
    assert [message_of(event) for event in published.events] == [Change("7", "order-1"), Change("7", "news")]


@pytest.mark.parametrize("nobody", [None, True, 1.5, Topic("news"), ["7"]])
def test_nobody_has_no_right(published: RecordingPublisher, topics: TopicRegistry, nobody: Any) -> None:
    with pytest.raises(BadRecipient):
        revoke(nobody, "news")
    with pytest.raises(BadRecipient):
        sign_out_everywhere(nobody)


def test_a_topic_that_nobody_declared_has_no_rights(published: RecordingPublisher, topics: TopicRegistry) -> None:
    with pytest.raises(UnknownTopic):
        revoke("7", "salaries")
    assert published.events == []


@pytest.mark.django_db(transaction=True)
def test_it_takes_effect_with_the_commit(published: RecordingPublisher, topics: TopicRegistry) -> None:
    with transaction.atomic():
        revoke("7", "news")
        assert published.events == []
    assert len(published.events) == 1
    with transaction.atomic():
        revoke("7", "news")
        transaction.set_rollback(True)
    assert len(published.events) == 1


def request_of(user: Any) -> HttpRequest:
    request = RequestFactory().get("/")
    SessionMiddleware(lambda _: HttpResponse()).process_request(request)
    request.user = AnonymousUser()
    login(request, user)
    return request


@pytest.mark.django_db(transaction=True)
def test_a_user_is_signed_out_everywhere_but_here(published: RecordingPublisher, make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    here, there, bobs = request_of(alice), request_of(alice), request_of(bob)
    for request, user in ((here, alice), (there, alice), (bobs, bob)):
        assert mark_of(request, user)
    published.events.clear()
    sign_out_everywhere(alice, keep=here)
    assert [message_of(event) for event in published.events] == [Change(str(alice.pk))]
    assert [bool(mark_of(*one)) for one in ((here, alice), (there, alice), (bobs, bob))] == [True, False, True]
    sign_out_everywhere(alice.pk)
    assert not mark_of(here, alice)
