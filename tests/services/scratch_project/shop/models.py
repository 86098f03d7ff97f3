"""Users with a UUID for a key and an address for a name, and what the second database holds (docs/architecture.md)."""

# mypy: ignore-errors

import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class User(AbstractBaseUser):
    """A customer."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"
    objects = BaseUserManager()


class Item(models.Model):
    """Something on a shelf of the warehouse."""

    name = models.CharField(max_length=50)

    def __str__(self):
        return self.name
