"""Who a token speaks for today, and what that user may hear (docs/tokens.md, docs/topics.md).

All functions use the database and are called in a thread.
"""

import time
from collections.abc import Collection, Container, Iterable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DataError, InterfaceError, OperationalError
from django.utils.crypto import constant_time_compare

from ..core.names import Stream, topic_stream
from ..core.session import Identity
from ..models import SignIn
from ..signin import NO_SESSION, password_digest
from ..tokens import Claims, TokenRefused, verify_token
from ..topics import TopicRegistry


class Ending(Enum):
    """Why a socket may not stay open."""

    # Signed out, deactivated or deleted.
    SIGN_IN = auto()
    # The password is another one, and the session has not said yet that it goes on.
    PASSWORD = auto()


class Wish(NamedTuple):
    """A user and the name of a topic that this user listens to, or would like to."""

    user_id: str
    topic: str


def identify(tokens: Collection[str], now: float) -> list[Identity | TokenRefused]:
    """Whom each of the tokens speaks for, or why it opens nothing, in two queries; `now` is unix seconds.

    A token is good when its user is active and its sign-in still stands.

    Raises:
        django.db.Error: no verdict is possible.
    """
    verified = [_verified(token, now) for token in tokens]
    claimed = [claims for claims in verified if isinstance(claims, Claims)]
    standing, digests = _standing(claimed)
    return [
        claims if isinstance(claims, TokenRefused) else _identified(claims, standing, digests) for claims in verified
    ]


def _verified(token: str, now: float) -> Claims | TokenRefused:
    try:
        return verify_token(token, now)
    except TokenRefused as refused:
        return refused


def _identified(
    claims: Claims, standing: Container[tuple[str, str]], digests: Mapping[str, str]
) -> Identity | TokenRefused:
    if claims.mark != NO_SESSION and (claims.mark, claims.user_id) not in standing:
        return TokenRefused("its sign-in has ended")
    digest = digests.get(claims.user_id)
    if digest is None:
        return TokenRefused("no such active user")
    if not constant_time_compare(claims.password, digest):
        return TokenRefused("the password was changed since")
    return Identity(claims.user_id, claims.username, claims.expires_at, claims.mark, claims.password)


def endings(identities: Collection[Identity]) -> dict[Identity, Ending]:
    """Those of the identities whose sockets have to close, in two queries.

    Unlike a token, a socket outlives the change of the password if its session does.

    Raises:
        django.db.Error: no verdict is possible.
    """
    standing, digests = _standing(identities)
    found: dict[Identity, Ending] = {}
    for who in identities:
        held = standing.get((who.mark, who.user_id))
        if who.user_id not in digests or (who.mark != NO_SESSION and held is None):
            found[who] = Ending.SIGN_IN
        # Its token's counts, too: while Django's key is rotated, the row may be of a process that has the other key.
        elif not any(constant_time_compare(one or "", digests[who.user_id]) for one in (held, who.password)):
            found[who] = Ending.PASSWORD
    return found


def _standing(claimed: Collection[Claims | Identity]) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """The sign-ins that stand among these, and the password's digest of each of their users who is active."""
    standing = SignIn.standing({who.mark for who in claimed} - {NO_SESSION})
    users = _active_users({who.user_id for who in claimed})
    return standing, {user_id: password_digest(user) for user_id, user in users.items()}


def allowed_topics(user_id: str, names: Iterable[str], registry: TopicRegistry) -> dict[str, Stream | None]:
    """The stream of each topic that the user may hear; None for one that is denied, declared or not.

    Raises:
        django.db.Error: no verdict is possible.
    """
    user = _active_user(user_id)
    return {name: topic_stream(name) if user is not None and registry.allows(user, name) else None for name in names}


def verdicts(wishes: Collection[Wish], registry: TopicRegistry, within_secs: float) -> dict[Wish, bool | None]:
    """What the topics' rules say of several users, who are read in one query; None where no verdict is possible.

    When time is up the rest is left out; one of them is answered at least.

    Raises:
        django.db.Error: the users could not be read.
    """
    until = time.monotonic() + within_secs
    users = _active_users({wish.user_id for wish in wishes})
    answer: dict[Wish, bool | None] = {}
    for wish in wishes:
        user = users.get(wish.user_id)
        try:
            answer[wish] = user is not None and registry.allows(user, wish.topic)
        except (InterfaceError, OperationalError):
            answer[wish] = None
        if time.monotonic() > until:
            break
    return answer


def _active_users(user_ids: Collection[str]) -> dict[str, Any]:
    """Those of the users who exist and are active. Each id was the key of a user once."""
    try:
        users = get_user_model()._default_manager.filter(pk__in=user_ids)
        return {str(user.pk): user for user in users if user.is_active}
    except (ValueError, TypeError, OverflowError, ValidationError, DataError):
        # The keys of this site's users are of another kind since.
        return {user_id: user for user_id in user_ids if (user := _active_user(user_id)) is not None}


def _active_user(user_id: str) -> Any:
    users = get_user_model()._default_manager
    try:
        user = users.filter(pk=user_id).first()
    except (ValueError, TypeError, OverflowError, ValidationError, DataError):
        return None  # no key of this user model
    return user if user is not None and user.is_active else None
