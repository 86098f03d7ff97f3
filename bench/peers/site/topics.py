"""A hundred topics that everybody may hear (docs/performance.md)."""

from django.contrib.auth.base_user import AbstractBaseUser

from apps.realtime import topic


@topic("bench-{number}")
def may_hear(user: AbstractBaseUser, number: str) -> bool:
    """Every signed-in user."""
    return True
