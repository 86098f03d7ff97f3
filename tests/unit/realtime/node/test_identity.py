"""Who a token speaks for today, and what that user may hear (docs/tokens.md)."""

import logging
import time
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import DataError, InterfaceError, OperationalError

from apps.realtime.core.names import topic_stream
from apps.realtime.core.session import Identity
from apps.realtime.models import SignIn
from apps.realtime.node.identity import Ending, Wish, allowed_topics, endings, verdicts
from apps.realtime.node.identity import identify as identify_all
from apps.realtime.signin import NO_SESSION, password_digest
from apps.realtime.tokens import TokenRefused, issue_token
from apps.realtime.topics import TopicRegistry, topic
from tests.unit.conftest import MakeToken, MakeUser

pytestmark = pytest.mark.django_db


def now() -> float:
    return time.time()


def identify(token: str, at: float) -> Identity:
    """Of a single token."""
    [who] = identify_all([token], at)
    if isinstance(who, TokenRefused):
        raise who
    return who


def forged(user_id: str, mark: str, password: str = "x") -> str:
    """Signed with our key, as nothing of ours would sign it."""
    return issue_token(user_id=user_id, username="x", mark=mark, password=password, now=now()).text


def test_a_good_token_speaks_for_its_user(make_user: MakeUser, make_token: MakeToken) -> None:
    alice = make_user()
    who = identify(make_token(alice), now())
    assert (who.user_id, who.username) == (str(alice.pk), "alice")
    assert abs(who.expires_at - now() - 900) < 60
    assert SignIn.objects.get().mark == who.mark


def test_a_token_that_fails_by_itself_is_refused() -> None:
    with pytest.raises(TokenRefused):
        identify("no_auth_token_user bad_token", now())


def test_a_token_of_an_ended_sign_in_is_refused(make_user: MakeUser, make_token: MakeToken) -> None:
    token = make_token(make_user())
    SignIn.objects.update(ended=True)
    with pytest.raises(TokenRefused, match="sign-in has ended"):
        identify(token, now())
    SignIn.objects.all().delete()
    with pytest.raises(TokenRefused, match="sign-in has ended"):
        identify(token, now())


def test_a_token_without_a_session_lives_with_its_user_and_password(make_user: MakeUser, make_token: MakeToken) -> None:
    alice = make_user()
    token = make_token(alice, mark=NO_SESSION)
    assert identify(token, now()).mark == NO_SESSION
    alice.set_password("another password")
    alice.save()
    with pytest.raises(TokenRefused, match="password was changed"):
        identify(token, now())


def test_a_token_of_a_deactivated_user_is_refused(make_user: MakeUser, make_token: MakeToken) -> None:
    alice = make_user()
    token = make_token(alice)
    alice.is_active = False
    alice.save()
    with pytest.raises(TokenRefused, match="no such active user"):
        identify(token, now())


def test_a_token_of_a_deleted_user_is_refused(make_user: MakeUser, make_token: MakeToken) -> None:
    alice = make_user()
    token = make_token(alice)
    alice.delete()
    with pytest.raises(TokenRefused, match="no such active user"):
        identify(token, now())


def test_a_token_from_before_a_password_change_is_refused(make_user: MakeUser, make_token: MakeToken) -> None:
    alice = make_user()
    token = make_token(alice)
    alice.set_password("another password")
    alice.save()
    with pytest.raises(TokenRefused, match="password was changed"):
        identify(token, now())


@pytest.mark.parametrize("mark", ["x" * 32, "' OR 1=1 --"])
def test_a_mark_that_nobody_has_is_refused(make_user: MakeUser, make_token: MakeToken, mark: str) -> None:
    alice = make_user()
    make_token(alice)
    with pytest.raises(TokenRefused, match="sign-in has ended"):
        identify(forged(str(alice.pk), mark), now())


def test_a_mark_of_another_user_is_refused(make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    mark = "m" * 32
    SignIn.touch(mark, str(alice.pk), "")
    with pytest.raises(TokenRefused, match="sign-in has ended"):
        identify(forged(str(bob.pk), mark, password_digest(bob)), now())


@pytest.mark.parametrize("user_id", ["alice", "#", "1.5", "9" * 100, "١٢"])
def test_a_sub_that_is_no_key_of_the_user_model_is_refused(user_id: str) -> None:
    SignIn.touch("m" * 32, user_id, "")
    with pytest.raises(TokenRefused, match="no such active user"):
        identify(forged(user_id, "m" * 32), now())


def test_a_good_token_costs_two_queries_and_a_bad_one_none(
    make_user: MakeUser, make_token: MakeToken, django_assert_num_queries: Any
) -> None:
    token = make_token(make_user())
    with django_assert_num_queries(2):
        identify(token, now())
    with django_assert_num_queries(0), pytest.raises(TokenRefused):
        identify(token[:-4] + "AAAA", now())


def test_many_tokens_cost_what_one_does_and_each_gets_its_own_answer(
    make_user: MakeUser, make_token: MakeToken, django_assert_num_queries: Any
) -> None:
    users = [make_user(name) for name in ("alice", "bob", "eve")]
    tokens = [make_token(user) for user in users]
    make_user("eve2")
    SignIn.objects.filter(user_id=str(users[1].pk)).update(ended=True)
    tokens += ["rubbish", make_token(users[0], mark=NO_SESSION), forged("alice", NO_SESSION)]
    with django_assert_num_queries(2):
        first = identify_all(tokens[:5], now())
    answers = [str(who) if isinstance(who, TokenRefused) else who.username for who in first]
    assert answers[:3] == ["alice", "its sign-in has ended", "eve"]
    assert answers[4] == "alice"
    # A key of another kind spoils nobody else's answer.
    again = identify_all(tokens, now())
    assert again[0] == first[0]
    assert str(again[5]) == "no such active user"


# Open sockets ------------------------------------------------------------------------------------


def test_a_sign_in_that_stands_has_no_ending_and_many_cost_two_queries(
    make_user: MakeUser, make_token: MakeToken, django_assert_num_queries: Any
) -> None:
    users = [make_user(name) for name in ("alice", "bob", "eve")]
    identities = [identify(make_token(user), now()) for user in users for _ in range(3)]
    with django_assert_num_queries(2):
        assert endings(identities) == {}


def test_a_socket_ends_with_its_sign_in_and_with_its_user(make_user: MakeUser, make_token: MakeToken) -> None:
    alice, bob, eve = (make_user(name) for name in ("alice", "bob", "eve"))
    out, other, inactive, gone = (identify(make_token(user), now()) for user in (alice, alice, bob, eve))
    SignIn.end(out.mark, out.user_id)
    get_user_model().objects.filter(pk=bob.pk).update(is_active=False)
    eve.delete()
    assert endings([out, other, inactive, gone]) == dict.fromkeys((out, inactive, gone), Ending.SIGN_IN)
    # A mark is worth something to its own user only.
    borrowed = replace(other, user_id=str(make_user("mallory").pk))
    assert endings([borrowed]) == {borrowed: Ending.SIGN_IN}


def test_a_session_that_goes_on_under_another_password_keeps_its_sockets(
    make_user: MakeUser, make_token: MakeToken
) -> None:
    alice = make_user()
    own, other, program = (
        identify(token, now()) for token in (make_token(alice), make_token(alice), make_token(alice, mark=NO_SESSION))
    )
    alice.set_password("another password")
    alice.save()
    assert endings([own, other, program]) == dict.fromkeys((own, other, program), Ending.PASSWORD)
    SignIn.renew(own.mark, own.user_id, password_digest(alice))
    assert endings([own, other, program]) == dict.fromkeys((other, program), Ending.PASSWORD)


@pytest.mark.parametrize("digest", ["", "of another key"])
def test_a_row_of_before_the_column_or_of_another_key_is_as_good_as_its_token(
    make_user: MakeUser, make_token: MakeToken, digest: str
) -> None:
    alice = make_user()
    who = identify(make_token(alice), now())
    SignIn.objects.update(password=digest)
    assert endings([who]) == {}
    alice.set_password("another password")
    alice.save()
    assert endings([who]) == {who: Ending.PASSWORD}


# Topics ------------------------------------------------------------------------------------------


def test_a_topic_s_rule_decides(make_user: MakeUser, topics: TopicRegistry) -> None:
    alice = make_user()
    assert allowed_topics(str(alice.pk), ["news", "order-1", "order-2"], topics) == {
        "news": topic_stream("news"),
        "order-1": topic_stream("order-1"),
        "order-2": None,
    }


@pytest.mark.parametrize("name", ["nope", "#", "*", "a.b", "n" * 255, "x" * 300, "news\0", "😀", ""])
def test_an_undeclared_topic_is_denied_like_a_forbidden_one(
    make_user: MakeUser, topics: TopicRegistry, name: str
) -> None:
    assert allowed_topics(str(make_user().pk), [name], topics) == {name: None}


def test_a_rule_that_breaks_lets_nobody_in(
    make_user: MakeUser, topics: TopicRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert allowed_topics(str(make_user().pk), ["order-boom", "news"], topics) == {
            "order-boom": None,
            "news": topic_stream("news"),
        }
    assert "order-{id}" in caplog.text


def rule_that_raises(error: Exception) -> TopicRegistry:
    @topic("order-{id}")
    def may_hear(user: Any, id: str) -> bool:
        raise error

    return TopicRegistry([may_hear])


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_a_rule_without_a_database_gives_no_verdict(make_user: MakeUser, kind: type[Exception]) -> None:
    """Resume, 7: no verdict is possible, so none is given."""
    with pytest.raises(kind):
        allowed_topics(str(make_user().pk), ["order-1"], rule_that_raises(kind("server closed the connection")))


def test_a_name_that_the_database_cannot_take_is_denied(make_user: MakeUser) -> None:
    # The database is fine: what it refuses is what the client sent.
    registry = rule_that_raises(DataError("integer out of range"))
    assert allowed_topics(str(make_user().pk), ["order-1"], registry) == {"order-1": None}


def test_who_was_deactivated_meanwhile_hears_nothing(make_user: MakeUser, topics: TopicRegistry) -> None:
    alice = make_user(is_active=False)
    assert allowed_topics(str(alice.pk), ["news"], topics) == {"news": None}
    assert allowed_topics("no key", ["news"], topics) == {"news": None}


# Verdicts on many -------------------------------------------------------------------------------


def test_the_rights_of_several_users_cost_one_query_and_their_rules(
    make_user: MakeUser, topics: TopicRegistry, django_assert_num_queries: Any
) -> None:
    alice, bob, eve = (str(make_user(name).pk) for name in ("alice", "bob", "eve"))
    wishes = [Wish(alice, "news"), Wish(bob, "order-1"), Wish(bob, "order-2"), Wish(eve, "order-boom")]
    with django_assert_num_queries(1):
        assert verdicts(wishes, topics, 10) == dict(zip(wishes, [True, True, False, False], strict=True))


def test_who_is_gone_or_inactive_has_no_right(make_user: MakeUser, topics: TopicRegistry) -> None:
    wishes = [Wish(str(make_user(is_active=False).pk), "news"), Wish("999999", "news")]
    assert verdicts(wishes, topics, 10) == dict.fromkeys(wishes, False)


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_one_rule_without_a_database_is_no_verdict_on_its_topic_alone(
    make_user: MakeUser, topics: TopicRegistry, kind: type[Exception]
) -> None:
    rules = [*rule_that_raises(kind("away")).rules, *topics.rules]
    alice = str(make_user().pk)
    wishes = [Wish(alice, "order-1"), Wish(alice, "news")]
    assert verdicts(wishes, TopicRegistry(rules), 10) == dict(zip(wishes, [None, True], strict=True))


def test_when_time_is_up_the_rest_is_left_out(make_user: MakeUser, topics: TopicRegistry) -> None:
    alice = str(make_user().pk)
    wishes = [Wish(alice, "news"), Wish(alice, "order-1")]
    assert verdicts(wishes, topics, 0) == {wishes[0]: True}
