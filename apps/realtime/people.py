"""Finds the user whom somebody means who types a name or a key (docs/commands.md)."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DataError


def users_meant(text: str) -> list[Any]:
    """The users whom a text may mean, by user name or by primary key; of two the one of that name comes first."""
    if "\0" in text:
        return []  # no text that PostgreSQL can hold; asking it would break a transaction
    users = get_user_model()
    found = {user.pk: user for user in (*_found(**{users.USERNAME_FIELD: text}), *_found(pk=text))}
    return list(found.values())


def _found(**which: Any) -> list[Any]:
    try:
        return list(get_user_model()._default_manager.filter(**which)[:1])
    except (ValueError, TypeError, OverflowError, ValidationError, DataError):
        return []  # no key of this user model
