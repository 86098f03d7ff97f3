"""Ties tokens to the Django session that they were issued in (docs/tokens.md).

The mark of a sign-in lies in the session; its row dies at sign-out, whatever the session backend. A client that has no
session (a mobile app behind the `REALTIME_REQUEST_USER` hook) gets a mark for each token.
"""

from typing import Any, Final

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .conf import realtime_settings
from .models import SignIn

SESSION_KEY: Final = "message_flow_mark"


def requesting_user(request: HttpRequest) -> Any:
    """The active user who sent the request, or None. `REALTIME_REQUEST_USER` names a function that may know better."""
    hook = realtime_settings().request_user
    user = import_string(hook)(request) if hook else getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    return user


def mark_of(request: HttpRequest, user: Any) -> str:
    """The mark for a token of this user; new where the session has none that still stands."""
    user_id, auth_hash = str(user.pk), user.get_session_auth_hash()
    session_user = getattr(request, "user", AnonymousUser())
    if not hasattr(request, "session") or session_user.pk != user.pk:
        return SignIn.touch(None, user_id, auth_hash)
    kept = request.session.get(SESSION_KEY)
    mark = SignIn.touch(kept, user_id, auth_hash)
    if mark != kept:
        request.session[SESSION_KEY] = mark
    return mark


def end_sign_in(request: HttpRequest) -> None:
    """The session is being signed out: its tokens open nothing from now on."""
    mark = request.session.get(SESSION_KEY)
    if mark:
        SignIn.objects.filter(mark=mark).delete()
