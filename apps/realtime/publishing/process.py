"""The one publisher and the one in-process exchange that a process has (docs/publishing.md).

They live in the app's config, so that they end with Django's registry and nothing is global to the module.
"""

import threading

from django.apps import apps

from ..brokers.base import Publisher
from ..brokers.choice import make_publisher
from ..brokers.memory import Exchange
from ..conf import realtime_settings


class PublishingProcess:
    """Makes the publisher when the first event needs it."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None

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


def publishing_process() -> PublishingProcess:
    """What this process publishes with."""
    process = apps.get_app_config("message_flow").publishing  # type: ignore[attr-defined]
    assert isinstance(process, PublishingProcess)
    return process
