"""What a caller may name as a recipient (docs/publishing.md)."""

from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.db import connection
from django.db.migrations.state import ProjectState
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from apps.realtime import EVERYONE, BadRecipient, Topic, UnknownTopic
from apps.realtime.core.names import ALL, topic_stream, user_stream
from apps.realtime.publishing import targets as module
from apps.realtime.publishing.targets import Target, existing_targets_of, remaining, streams_of
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
        Group(pk=7),  # not user 7
        SimpleLazyObject(lambda: Group(pk=7)),
        Topic(None),  # type: ignore[arg-type]
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


def test_the_users_of_a_migration_are_users(topics: TopicRegistry) -> None:
    of_then = ProjectState.from_apps(apps).apps.get_model(User._meta.label)
    assert not issubclass(of_then, User)
    assert streams_of(of_then(pk=7), topics) == ["user.7"]


def test_an_undeclared_topic_is_refused(topics: TopicRegistry) -> None:
    for name in ("nope", "", "#", "order-", "x" * 300):
        with pytest.raises(UnknownTopic):
            streams_of([7, Topic(name)], topics)


# Users who have to exist -------------------------------------------------------------------------


def user_target(user: Any) -> Target:
    return Target(user_stream(str(user.pk)), str(user.pk))


ALL_TARGET = Target(ALL, None)


@pytest.mark.django_db
def test_keys_are_looked_up_together_and_named_as_the_database_has_them(topics: TopicRegistry, make_user: Any) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    to = [alice.pk, f"0{alice.pk}", User(pk=bob.pk), str(bob.pk), EVERYONE, Topic("news")]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert existing_targets_of(to, topics) == [
            user_target(alice),
            user_target(bob),
            ALL_TARGET,
            Target(topic_stream("news"), None),
        ]
    assert len(queries) == 1


@pytest.mark.django_db
def test_users_from_the_database_are_believed(topics: TopicRegistry, make_user: Any) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    people = list(User.objects.order_by("pk"))
    with CaptureQueriesContext(connection) as queries:
        assert existing_targets_of(people, topics) == [user_target(alice), user_target(bob)]
        assert existing_targets_of(SimpleLazyObject(lambda: alice), topics) == [user_target(alice)]
        assert existing_targets_of([Shop("x y"), EVERYONE], topics) == [user_target(Shop("x y")), ALL_TARGET]
    assert len(queries) == 0


@pytest.mark.django_db
def test_many_keys_are_looked_up_in_parts(
    topics: TopicRegistry, make_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEYS_PER_QUERY", 2)
    users = [make_user(f"user{number}") for number in range(5)]
    keys = [user.pk for user in users]
    with CaptureQueriesContext(connection) as queries:
        assert existing_targets_of(keys, topics) == list(map(user_target, users))
    assert len(queries) == 3
    with pytest.raises(BadRecipient, match="987654321"):
        existing_targets_of([*keys, 987654321], topics)


@pytest.mark.parametrize(
    "to", [987654321, -1, "nobody", "1.5", "7\x00", 2**70, KEY, User(pk=987654321), [EVERYONE, 987654321], User(), None]
)
@pytest.mark.django_db
def test_who_does_not_exist_is_refused(topics: TopicRegistry, to: Any) -> None:
    with pytest.raises(BadRecipient):
        existing_targets_of(to, topics)


@pytest.mark.django_db
def test_an_undeclared_topic_is_refused_there_too(topics: TopicRegistry) -> None:
    with pytest.raises(UnknownTopic):
        existing_targets_of([EVERYONE, Topic("nope")], topics)


@pytest.mark.django_db
def test_of_targets_that_were_kept_the_users_who_are_gone_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [User.objects.create_user(username=name) for name in ("alice", "bob", "carol")]
    targets = [Target(ALL, None), *existing_targets_of(users, TopicRegistry([])), Target(user_stream("x"), "x")]
    users[1].delete()
    monkeypatch.setattr(module, "_KEYS_PER_QUERY", 2)
    with CaptureQueriesContext(connection) as queries:
        assert remaining(targets) == [targets[0], targets[1], targets[3]]
    assert len(queries) == 2
    assert remaining([]) == []
