"""What the library does when Django signs a user out (docs/tokens.md)."""

from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest

from .signin import end_sign_in


@receiver(user_logged_out, dispatch_uid="message_flow.signed_out")
def signed_out(request: HttpRequest | None, **kwargs: Any) -> None:
    """Sent before Django flushes the session; without a request where a program signs a user out."""
    if request is not None and hasattr(request, "session"):
        end_sign_in(request)
