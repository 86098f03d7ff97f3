"""Ties tokens to the Django session that they were issued in (docs/tokens.md).

The mark of a sign-in lies in the session from its beginning, so that all of its tabs share it. A client that has no
session (a mobile app behind the `REALTIME_REQUEST_USER` hook) has no mark: its tokens end by themselves.
"""

from secrets import token_hex
from typing import Any, Final

from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth import SESSION_KEY as USER_KEY
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from .conf import realtime_settings
from .models import SignIn

SESSION_KEY: Final = "message_flow_mark"
NO_SESSION: Final = ""


def requesting_user(request: HttpRequest) -> Any:
    """The active user who sent the request, or None. `REALTIME_REQUEST_USER` names a function that may know better."""
    hook = realtime_settings().request_user
    user = import_string(hook)(request) if hook else getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    return user


def mark_of(request: HttpRequest, user: Any) -> str | None:
    """The mark for a token of this user, `NO_SESSION` where the user has none; None where the sign-in has ended."""
    if not hasattr(request, "session") or getattr(request, "user", user).pk != user.pk:
        return NO_SESSION
    mark = request.session.get(SESSION_KEY)
    if mark is None:  # a session older than this library in this site
        mark = begin_sign_in(request)
    return mark if SignIn.touch(mark, str(user.pk), password_digest(user)) else None


def begin_sign_in(request: HttpRequest) -> str:
    """A user signs in with this session: a new mark, shared by all of its tabs."""
    mark = request.session[SESSION_KEY] = token_hex(16)
    return mark


def end_sign_in(request: HttpRequest, user: Any) -> None:
    """The session is being signed out: its tokens open nothing from now on."""
    mark = request.session.get(SESSION_KEY)
    if mark is not None:
        SignIn.end(mark, str(user.pk))


def end_sign_ins(user_id: str, keep: HttpRequest | None) -> None:
    """Every sign-in of the user ends, except that of the request's session."""
    SignIn.end_all(user_id, None if keep is None else keep.session.get(SESSION_KEY))


def renew_sign_in(request: HttpRequest) -> None:
    """The session goes on, though the password of its user may just have changed: Django has said so to the session."""
    session = request.session
    mark, user_id, auth_hash = (session.get(key) for key in (SESSION_KEY, USER_KEY, HASH_SESSION_KEY))
    if mark is not None and user_id is not None and auth_hash is not None:
        SignIn.renew(mark, user_id, _digest(auth_hash))


def password_digest(user: Any) -> str:
    """Changes with the user's password, and tells nothing of it; tokens carry it and end with the password."""
    return _digest(user.get_session_auth_hash())


def _digest(auth_hash: str) -> str:
    return salted_hmac("message_flow.password", auth_hash, algorithm="sha256").hexdigest()[:32]
