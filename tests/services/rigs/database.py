"""A real PostgreSQL as the library's database in the process of the test (docs/stack.md)."""

from collections.abc import Iterator
from contextlib import contextmanager

import dj_database_url
from django.db import connections
from django.test import override_settings

ALIAS = "postgresql"


@contextmanager
def library_database(url: str) -> Iterator[str]:
    """Let the library keep its tables there; gives the alias. The caller has unblocked pytest-django's databases."""
    connections.settings[ALIAS] = {**connections.settings["default"], "OPTIONS": {}, **dj_database_url.parse(url)}
    try:
        with override_settings(REALTIME_DATABASE=ALIAS):
            yield ALIAS
    finally:
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.settings[ALIAS]
