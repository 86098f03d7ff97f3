"""What the library stores (docs/tokens.md)."""

from datetime import timedelta
from typing import ClassVar

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils import timezone

# Whatever of this package a project uses first, urls or asgi, comes by here.
if not apps.is_installed(__package__ or ""):
    raise ImproperlyConfigured(f"add {__package__!r} to INSTALLED_APPS")


class SignIn(models.Model):
    """One sign-in of a user, as far as sockets care: tokens carry its mark and end with it.

    The row is independent of the session backend. It is kept after the sign-out, so that a request that was under way
    cannot bring the sign-in back.
    """

    mark = models.CharField(primary_key=True, max_length=32)
    # Text, not a foreign key: user models have keys of any type and may live in another database.
    user_id = models.CharField(max_length=255, db_index=True)
    ended = models.BooleanField(default=False)
    seen_at = models.DateTimeField()

    class Meta:
        app_label = "message_flow"
        verbose_name = "sign-in"

    # Declared for the type checker only; Django sets it.
    objects: ClassVar[models.Manager["SignIn"]]

    def __str__(self) -> str:
        return f"sign-in of user {self.user_id}"

    @classmethod
    def stands(cls, mark: str, user_id: str) -> bool:
        """Whether tokens of this sign-in open sockets."""
        return cls.objects.filter(mark=mark, user_id=user_id, ended=False).exists()

    @classmethod
    def touch(cls, mark: str, user_id: str) -> bool:
        """Note that a token is being issued for a sign-in; False where it has ended."""
        now = timezone.now()
        if cls.objects.filter(mark=mark, user_id=user_id, ended=False).update(seen_at=now):
            return True
        _, created = cls.objects.get_or_create(mark=mark, defaults={"user_id": user_id, "seen_at": now})
        if created:
            # Older ones belong to sessions that have run out.
            over = now - timedelta(seconds=settings.SESSION_COOKIE_AGE)
            cls.objects.filter(user_id=user_id, seen_at__lt=over).delete()
        return created

    @classmethod
    def end(cls, mark: str, user_id: str) -> None:
        """The session was signed out, whether a token was ever issued in it or not."""
        cls.objects.update_or_create(mark=mark, defaults={"user_id": user_id, "ended": True, "seen_at": timezone.now()})
