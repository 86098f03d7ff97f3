"""Turns what a caller names into streams (docs/publishing.md)."""

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final
from uuid import UUID

from ..core.errors import BadRecipient
from ..core.names import ALL, Stream, topic_stream, user_stream
from ..topics import Topic, TopicRegistry


class Everyone(Enum):
    """The type of `EVERYONE`: every signed-in user."""

    EVERYONE = "everyone"


EVERYONE: Final = Everyone.EVERYONE

# A user, a user's primary key, a topic or everyone; or an iterable (list, queryset) of these.
Recipient = Any


def streams_of(to: Recipient, topics: TopicRegistry) -> list[Stream]:
    """The streams of one recipient or of many, each once, in the order given.

    Raises:
        BadRecipient: nobody, an unsaved user, or a value that names no user.
        UnknownTopic: a topic that no pattern declares.
    """
    # request.user is lazy and claims to be iterable: whatever has a primary key is one user.
    many = not hasattr(to, "pk") and not isinstance(to, str | bytes) and isinstance(to, Iterable)
    return list(dict.fromkeys(_stream_of(one, topics) for one in (to if many else (to,))))


def _stream_of(to: Recipient, topics: TopicRegistry) -> Stream:
    if isinstance(to, Topic):
        topics.require(to.name)
        return topic_stream(to.name)
    if isinstance(to, Everyone):
        return ALL
    key = getattr(to, "pk", to)
    if isinstance(key, bool) or not isinstance(key, str | int | UUID):
        raise BadRecipient(
            f"{to!r} names no user: pass a saved user, a primary key, Topic(name), EVERYONE or a list of these"
        )
    return user_stream(str(key))
