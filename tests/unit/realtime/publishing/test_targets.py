"""What a caller may name as a recipient (docs/publishing.md)."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.utils.functional import SimpleLazyObject

from apps.realtime import EVERYONE, BadRecipient, Topic, UnknownTopic
from apps.realtime.publishing.targets import streams_of
from apps.realtime.topics import TopicRegistry

User = get_user_model()
KEY = UUID("5e1f0a4e-6d0b-4d6e-9a34-1c2d3e4f5a6b")


class Shop:
    """A user model with a key of another kind."""

    def __init__(self, pk: object) -> None:
        self.pk = pk


@pytest.mark.parametrize(
    ("to", "streams"),
    [
        (7, ["user.7"]),
        ("7", ["user.7"]),
        (KEY, [f"user.{KEY}"]),
        ("a.b#", ["user.a%2Eb%23"]),
        (0, ["user.0"]),
        (EVERYONE, ["all"]),
        (Topic("news"), ["topic.news"]),
        (Topic("order-a.b"), ["topic.order-a%2Eb"]),
        (User(pk=7), ["user.7"]),
        (Shop(KEY), [f"user.{KEY}"]),
        (Shop("x y"), ["user.x%20y"]),
        (SimpleLazyObject(lambda: User(pk=7)), ["user.7"]),
        ([], []),
        ([7, "8", User(pk=9)], ["user.7", "user.8", "user.9"]),
        ((9, 7, 9), ["user.9", "user.7"]),  # each once, in the order given
        ([7, "7", User(pk=7)], ["user.7"]),
        ([EVERYONE, Topic("news"), 7], ["all", "topic.news", "user.7"]),
        ({7: "x"}, ["user.7"]),
    ],
)
def test_it_names_streams(topics: TopicRegistry, to: Any, streams: list[str]) -> None:
    assert streams_of(to, topics) == streams


def test_a_generator_and_a_set_are_many(topics: TopicRegistry) -> None:
    assert streams_of((number for number in (1, 2)), topics) == ["user.1", "user.2"]
    assert sorted(streams_of({1, 2}, topics)) == ["user.1", "user.2"]


@pytest.mark.django_db
def test_a_queryset_is_many(topics: TopicRegistry, make_user: Any) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    assert streams_of(User.objects.order_by("pk"), topics) == [f"user.{alice.pk}", f"user.{bob.pk}"]
    assert streams_of(User.objects.order_by("pk").values_list("pk", flat=True), topics) == [
        f"user.{alice.pk}",
        f"user.{bob.pk}",
    ]


@pytest.mark.parametrize(
    "to",
    [
        None,
        True,
        False,
        1.5,
        b"7",
        "",
        "x" * 256,
        "\ud800",
        object(),
        AnonymousUser(),
        SimpleLazyObject(AnonymousUser),
        User(),  # unsaved
        Shop(True),
        Shop(1.5),
        [None],
        [7, [8]],
        [7, AnonymousUser()],
        [b"7"],
    ],
)
def test_what_names_nobody_is_refused(topics: TopicRegistry, to: Any) -> None:
    with pytest.raises(BadRecipient):
        streams_of(to, topics)


def test_an_undeclared_topic_is_refused(topics: TopicRegistry) -> None:
    for name in ("nope", "", "#", "order-", "x" * 300):
        with pytest.raises(UnknownTopic):
            streams_of([7, Topic(name)], topics)
