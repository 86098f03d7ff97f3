"""The demo site with these topics, and with passwords that cost nothing."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.services.rigs.rights"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    # Of the users that are in the database already.
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
