"""The demo settings with values that tests may rely on, whatever `.env` of this checkout says."""

import os

os.environ.update(
    DEMO="1",
    DEBUG="0",
    SECRET_KEY="django-key-of-the-tests-" + "x" * 40,
    REALTIME_SECRET="token-key-of-the-tests-" + "x" * 40,
    ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
    AMQP_URL="",
    DEMO_PASSWORD="",
    DATABASE_URL="sqlite://:memory:",
)

from project.settings import *  # noqa: F403 - the environment has to be set first

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
REALTIME_LOCAL_SOCKET = None
