"""Turns what a caller names into streams (docs/publishing.md)."""

import reprlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Model

from ..core.errors import BadRecipient
from ..core.names import ALL, Stream, topic_stream, user_stream
from ..core.parts import parts
from ..topics import Topic, TopicRegistry


class Everyone(Enum):
    """The type of `EVERYONE`: every signed-in user."""

    EVERYONE = "everyone"


EVERYONE: Final = Everyone.EVERYONE

# SQLite takes a limited number of parameters.
_KEYS_PER_QUERY: Final = 500

# A user, a user's primary key, a topic or everyone; or an iterable (list, queryset) of these.
Recipient = Any


class Target(NamedTuple):
    """Where an event goes; `user_id` is the primary key as text of a user: a stream's name may hide it."""

    stream: Stream
    user_id: str | None


def streams_of(to: Recipient, topics: TopicRegistry) -> list[Stream]:
    """The streams of one recipient or of many, each once, in the order given.

    Raises:
        BadRecipient: nobody, an unsaved user, or a value that names no user.
        UnknownTopic: a topic that no pattern declares.
    """
    return list(dict.fromkeys(_target_of(one, topics).stream for one in _each(to)))


def existing_targets_of(to: Recipient, topics: TopicRegistry) -> list[Target]:
    """The same with their users, each of whom has to exist. It uses the database for those that do not come from there:
    keys, and objects that were never saved.

    Raises:
        BadRecipient: nobody, or a user who does not exist.
        UnknownTopic: a topic that no pattern declares.
    """
    targets: dict[Target, None] = {}
    # By the key as the database has it, so that "07" and 7 are one user.
    claimed: dict[Any, Recipient] = {}
    for one in _each(to):
        target = _target_of(one, topics)
        if target.user_id is not None and not _was_saved(one):
            key = _user_key(one)
            claimed[key] = one
            target = user_target(str(key))
        targets[target] = None
    _require_users(claimed)
    return list(targets)


def remaining(targets: Sequence[Target]) -> list[Target]:
    """Those of the targets that are not users who have been deleted since. It uses the database."""
    # By the key as the database has it.
    keys: dict[Target, Any] = {}
    for target in targets:
        if target.user_id is not None:
            with suppress(BadRecipient):
                keys[target] = _user_key(target.user_id)
    found = _found(list(keys.values()))
    return [target for target in targets if target.user_id is None or keys.get(target) in found]


def _each(to: Recipient) -> Iterable[Recipient]:
    # request.user is lazy and claims to be iterable: whatever has a primary key is one user.
    many = not hasattr(to, "pk") and not isinstance(to, str | bytes) and isinstance(to, Iterable)
    return to if many else (to,)


def _target_of(to: Recipient, topics: TopicRegistry) -> Target:
    if isinstance(to, Topic) and isinstance(to.name, str):
        topics.require(to.name)
        return Target(topic_stream(to.name), None)
    if isinstance(to, Everyone):
        return Target(ALL, None)
    return user_target(user_id_of(to, "a saved user, a primary key, Topic(name), EVERYONE or a list of these"))


def user_target(user_id: str) -> Target:
    """One user, by the primary key as text."""
    return Target(user_stream(user_id), user_id)


def user_id_of(user: Recipient, choices: str = "a saved user or a primary key") -> str:
    """The primary key of one user as text; `choices` is what the caller might have passed.

    Raises:
        BadRecipient: a value that names no user.
    """
    key = getattr(user, "pk", user)
    if isinstance(key, bool) or not isinstance(key, str | int | UUID) or _is_no_user(user):
        raise BadRecipient(f"{user!r} names no user: pass {choices}")
    return str(key)


def _is_no_user(to: Recipient) -> bool:
    """An object of another model: its key may be that of some user, who would get what is not meant for them."""
    if not isinstance(to, Model):
        return False
    users = get_user_model()
    # A migration's model of users is another class of the same name.
    return not isinstance(to, users) and to._meta.label != users._meta.label


def _was_saved(user: Recipient) -> bool:
    # What has no such state is the object of a project that stores its users elsewhere.
    return hasattr(user, "pk") and not getattr(getattr(user, "_state", None), "adding", False)


def _user_key(user: Recipient) -> Any:
    try:
        return get_user_model()._meta.pk.clean(getattr(user, "pk", user), None)
    except ValidationError as error:
        raise BadRecipient(f"{reprlib.repr(user)} is no primary key of a user") from error


def _require_users(claimed: dict[Any, Recipient]) -> None:
    found = _found(list(claimed))
    missing = [one for key, one in claimed.items() if key not in found]
    if missing:
        raise BadRecipient(f"no user has the primary key {reprlib.repr(missing[0])} ({len(missing)} unknown)")


def _found(keys: list[Any]) -> set[Any]:
    model = get_user_model()
    # Where users are written: a replica may not have one that was just added.
    users = model._base_manager.using(router.db_for_write(model))
    found: set[Any] = set()
    for part in parts(keys, _KEYS_PER_QUERY):
        found.update(users.filter(pk__in=part).values_list("pk", flat=True))
    return found
