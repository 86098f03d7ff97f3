"""Tells every node what changed for a user, as soon as it is committed (docs/tokens.md, docs/topics.md)."""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, router
from django.http import HttpRequest

from ..core.control import Change
from ..topics import Topic, topic_registry
from ..tracing import new_mid
from .push import publish_after_commit
from .targets import user_id_of


def revoke(user: Any, topic: Topic | str, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Unsubscribe a user from a topic, on every node and at once.

    Take the right away first: a page may subscribe again, and then the topic's rule decides. Like `push`, the call
    never waits for the broker, and inside a transaction of the database `using` it takes effect after the commit.

    Args:
        user: a user or a user's primary key.
        topic: `Topic(name)` or its name.

    Raises:
        BadRecipient: `user` names nobody.
        UnknownTopic: a topic that no `@topic` pattern declares.
    """
    name = topic.name if isinstance(topic, Topic) else topic
    topic_registry().require(name)
    announce(Change(user_id_of(user), name), using=using)


def sign_out_everywhere(user: Any, *, keep: HttpRequest | None = None) -> None:
    """End every sign-in of a user, as far as sockets and their tokens care, except that of the request's session.

    Django's own sessions are the project's to end: only it knows where they are kept.

    Raises:
        BadRecipient: `user` names nobody.
    """
    # The models: there are none while Django starts, when the public API is imported.
    from ..models import SignIn
    from ..signin import end_sign_ins

    user_id = user_id_of(user)
    end_sign_ins(user_id, keep)
    announce(Change(user_id), using=router.db_for_write(SignIn))


def announce(change: Change, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Have the nodes look again, after the commit; the caller waits for nothing."""
    publish_after_commit([change.event(new_mid())], using)
