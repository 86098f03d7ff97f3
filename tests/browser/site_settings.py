"""The demo site with a folder of its own, so that it meets neither a developer's site nor another test run."""

import os

from project.settings import *  # noqa: F403

REALTIME_LOCAL_SOCKET = os.environ["TEST_LOCAL_SOCKET"]
# Signing in is most of what these tests wait for.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
