"""What the library does when Django signs a user in or out (docs/tokens.md)."""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest

from .signin import SESSION_KEY, begin_sign_in, end_sign_in


@receiver(user_logged_in, dispatch_uid="message_flow.signed_in")
def signed_in(request: HttpRequest | None, **kwargs: Any) -> None:
    """Sent before the answer saves the session; without a request where a program signs a user in.

    Signing in again as the same user keeps the session and its mark; another user's session was flushed before.
    """
    if request is not None and SESSION_KEY not in getattr(request, "session", {SESSION_KEY}):
        begin_sign_in(request)


@receiver(user_logged_out, dispatch_uid="message_flow.signed_out")
def signed_out(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Sent before Django flushes the session; without a user where nobody was signed in."""
    if request is not None and user is not None and hasattr(request, "session"):
        end_sign_in(request, user)
