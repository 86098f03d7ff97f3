"""What the library does when a sign-in, a user or a right changes in Django (docs/tokens.md, docs/topics.md).

What changes without a signal (`QuerySet.update`, raw SQL) is found by the nodes themselves, later.
"""

from collections.abc import Collection
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import DEFAULT_DB_ALIAS, router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from .core.control import Change
from .inbox.changes import forget
from .models import SignIn
from .publishing.control import announce
from .publishing.targets import user_target
from .signin import SESSION_KEY, begin_sign_in, end_sign_in

# More than these are everybody.
USERS_MAX: Final = 100
# Where only some fields of a user are saved, as `last_login` is at each sign-in: sockets and rights hang on these.
_DECISIVE: Final = frozenset({"password", "is_active", "is_staff", "is_superuser"})


@receiver(user_logged_in, dispatch_uid="message_flow.signed_in")
def signed_in(request: HttpRequest | None, **kwargs: Any) -> None:
    """Sent before the answer saves the session; without a request where a program signs a user in.

    Signing in again as the same user keeps the session and its mark, unless that sign-in was ended; another user's
    session was flushed before.
    """
    if request is None or not hasattr(request, "session"):
        return
    mark = request.session.get(SESSION_KEY)
    if mark is None or SignIn.objects.filter(mark=mark, ended=True).exists():
        begin_sign_in(request)


@receiver(user_logged_out, dispatch_uid="message_flow.signed_out")
def signed_out(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Sent before Django flushes the session; without a user where nobody was signed in."""
    if request is not None and user is not None and hasattr(request, "session"):
        end_sign_in(request, user)
        announce(Change(str(user.pk)), using=router.db_for_write(SignIn))


# A receiver of all models would find proxies of the user model as well, and keep Django from deleting fast anywhere.
@receiver(post_save, sender=settings.AUTH_USER_MODEL, dispatch_uid="message_flow.user_saved")
def user_saved(
    instance: Any, created: bool, using: str, update_fields: Collection[str] | None = None, **kwargs: Any
) -> None:
    """A new password, a deactivation, a superuser who is none any more, or nothing of that."""
    if not created and (update_fields is None or _DECISIVE.intersection(update_fields)):
        announce(Change(str(instance.pk)), using=using)


@receiver(post_delete, sender=settings.AUTH_USER_MODEL, dispatch_uid="message_flow.user_deleted")
def user_deleted(instance: Any, using: str, **kwargs: Any) -> None:
    """Sent while the object still has its key."""
    user_id = str(instance.pk)
    # Behind the commit: until then somebody would wait for rows that were locked here, and a rollback keeps them.
    transaction.on_commit(lambda: forget(user_target(user_id)), using=using, robust=True)
    announce(Change(user_id), using=using)


@receiver(m2m_changed, dispatch_uid="message_flow.rights_changed")
def rights_changed(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: Collection[Any] | None, using: str, **kwargs: Any
) -> None:
    """A user's groups or permissions, from either side, or those of a group."""
    if not action.startswith("post_"):
        return
    users = get_user_model()
    # A project's own user model may have neither, or call something else so.
    ways = [getattr(getattr(users, name, None), "through", None) for name in ("groups", "user_permissions")]
    if sender in ways:
        # Who was in what has been cleared, nobody can say any more.
        found = pk_set if reverse else {instance.pk}
        whose = (None,) if found is None or len(found) > USERS_MAX else tuple(str(pk) for pk in found)
        for user_id in whose:
            announce(Change(user_id), using=using)
    elif sender is Group.permissions.through:
        announce(Change(None), using=using)


@receiver(post_delete, sender=Group, dispatch_uid="message_flow.group_deleted")
@receiver(post_delete, sender=Permission, dispatch_uid="message_flow.permission_deleted")
def right_deleted(using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Whoever had it by this has it no more."""
    announce(Change(None), using=using)
