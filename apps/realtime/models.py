"""What the library stores (docs/tokens.md)."""

from datetime import timedelta
from secrets import token_hex
from typing import ClassVar, Final

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils import timezone

# Whatever of this package a project uses first, urls or asgi, comes by here.
if not apps.is_installed(__package__ or ""):
    raise ImproperlyConfigured(f"add {__package__!r} to INSTALLED_APPS")

# A page asks for a token every 15 minutes: a sign-in unused for a day has none open, and its next token a new mark.
UNUSED_AFTER: Final = timedelta(days=1)


class SignIn(models.Model):
    """One sign-in of a user, as far as sockets care: tokens carry its mark and die with it.

    The row is independent of the session backend. It goes at sign-out; a changed password no longer fits `auth_hash`.
    """

    mark = models.CharField(primary_key=True, max_length=32)
    # Text, not a foreign key: user models have keys of any type and may live in another database.
    user_id = models.CharField(max_length=255, db_index=True)
    auth_hash = models.CharField(max_length=128)
    seen_at = models.DateTimeField()

    class Meta:
        app_label = "message_flow"
        verbose_name = "sign-in"

    # Declared for the type checker only; Django sets it.
    objects: ClassVar[models.Manager["SignIn"]]

    def __str__(self) -> str:
        return f"sign-in of user {self.user_id}"

    @classmethod
    def touch(cls, mark: str | None, user_id: str, auth_hash: str) -> str:
        """Note that a token is being issued; returns the mark to put in it, a new one where the old one is dead."""
        now = timezone.now()
        if mark and cls.objects.filter(mark=mark, user_id=user_id, auth_hash=auth_hash).update(seen_at=now):
            return mark
        cls.objects.filter(user_id=user_id, seen_at__lt=now - UNUSED_AFTER).delete()
        mark = token_hex(16)
        cls.objects.create(mark=mark, user_id=user_id, auth_hash=auth_hash, seen_at=now)
        return mark
