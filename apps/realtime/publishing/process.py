"""The one publisher, outbox and in-process exchange that a process has (docs/publishing.md).

They live in the app's config, so that they end with Django's registry and nothing is global to the module.
"""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..brokers.base import Publisher
from ..brokers.choice import make_publisher
from ..brokers.memory import Exchange
from ..conf import realtime_settings
from ..core.names import Stream

if TYPE_CHECKING:
    from .outbox import Outbox


class PublishingProcess:
    """Makes the publisher when the first event needs it."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None
        self._outbox: Outbox | None = None

    @property
    def started(self) -> bool:
        """Whether this process has published, or was asked to get ready for it."""
        return self._publisher is not None

    @property
    def publisher(self) -> Publisher:
        """The publisher of this process."""
        publisher = self._publisher
        if publisher is None:
            with self._lock:
                publisher = self._publisher
                if publisher is None:
                    publisher = self._publisher = make_publisher(realtime_settings(), self.exchange)
        return publisher

    @property
    def outbox(self) -> "Outbox":
        """The outbox of this process."""
        outbox = self._outbox
        if outbox is None:
            # It uses the models: there are none while Django starts.
            from .outbox import Outbox

            publisher = self.publisher
            with self._lock:
                outbox = self._outbox
                if outbox is None:
                    outbox = self._outbox = Outbox(publisher)
        return outbox

    def committed(self, alias: str, streams: Iterable[Stream]) -> None:
        """Rows of these streams were committed on the caller's connection; returns at once."""
        connection = connections[alias]
        # A test that runs the hooks of a transaction which never commits: there is nothing that another connection
        # sees.
        if not connection.in_atomic_block and not is_in_memory(connection):
            self.outbox.wake(streams)


def publishing_process() -> PublishingProcess:
    """What this process publishes with."""
    process = apps.get_app_config("message_flow").publishing  # type: ignore[attr-defined]
    assert isinstance(process, PublishingProcess)
    return process


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is a database in memory: a test's, and other threads would be in its way."""
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())  # type: ignore[attr-defined]
