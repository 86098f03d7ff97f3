"""The fixture, and when the plugin is loaded (docs/testing.md)."""

import subprocess
import sys

from apps.realtime import EVERYONE, push
from apps.realtime.testing import Captured


def test_the_fixture_needs_no_database(captured_events: Captured) -> None:
    push(EVERYONE, "n")
    captured_events.assert_notified(EVERYONE, "n", times=1)


def test_it_can_be_loaded_before_django_is_set_up() -> None:
    code = (
        "import os; os.environ.pop('DJANGO_SETTINGS_MODULE', None); import apps.realtime.pytest_plugin; "
        "from django.conf import settings; print(settings.configured)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
