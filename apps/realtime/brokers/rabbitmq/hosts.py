"""Which host of the broker a link turns to, and when (docs/brokers.md, "Several hosts")."""

import random
from collections.abc import Sequence
from typing import Final

from ... import metrics
from ...core.broker_urls import host_and_port
from .backoff import Backoff
from .topology import redacted

PUBLISHER: Final = "publisher"
LISTENER: Final = "listener"


class Hosts:
    """The hosts of one link. It begins with any of them, so that processes spread, and stays while that one works.

    Attributes:
        url: of the host whose turn it is.
    """

    def __init__(self, urls: Sequence[str], role: str) -> None:
        # Of their own for each link: a fork's child, too, draws anew.
        self._urls = random.sample(urls, len(urls))
        self._role = role
        self._backoff = Backoff()
        self._place = 0
        self._failed_in_turn = 0
        # The last failure of each host, since one of them last worked.
        self._reasons: dict[str, str] = {}
        self.url = self._urls[0]
        self.show(up=False)

    @property
    def address(self) -> str:
        """Of the host whose turn it is, for people: without the password."""
        return redacted(self.url)

    def show(self, *, up: bool) -> None:
        """Whether the link works, for whoever watches."""
        metrics.BROKER_CONNECTED.labels(self._role).set(up)
        host, port = host_and_port(self.url)
        metrics.BROKER_HOST.labels(self._role, f"{host}:{port}").set(up)
        if up:
            self._reasons.clear()

    def is_news(self, reason: str) -> bool:
        """Whether this host has not failed for the same reason just before."""
        known = self._reasons.get(self.url)
        self._reasons[self.url] = reason
        return known != reason

    def next_secs(self) -> float:
        """Turn to the next host; returns how long to wait first: not at all until each has failed in turn."""
        self._place = (self._place + 1) % len(self._urls)
        self.url = self._urls[self._place]
        self._failed_in_turn += 1
        return 0.0 if self._failed_in_turn % len(self._urls) else self.retry_secs()

    def retry_secs(self) -> float:
        """How long to wait before the same host is asked again."""
        return self._backoff.next_secs()

    def steady(self) -> None:
        """This host works, and not only for a moment."""
        self._failed_in_turn = 0
        self._backoff.reset()
