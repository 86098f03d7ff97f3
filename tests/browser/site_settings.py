"""The demo site with a folder of its own, so that it meets neither a developer's site nor another test run."""

import os
from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import STATICFILES_DIRS

REALTIME_LOCAL_SOCKET = os.environ["TEST_LOCAL_SOCKET"]
# As a page of the site itself: what a test gives the browser instead may not open a socket to this machine.
STATICFILES_DIRS = [*STATICFILES_DIRS, ("page_of_2016", Path(__file__).with_name("page_of_2016"))]
# Signing in is most of what these tests wait for.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
