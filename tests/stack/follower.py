"""What an open page does, without a browser: stays connected through everything (docs/stack.md)."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from websockets.exceptions import WebSocketException

from ops.services import wait_for
from tests.services.rigs.clients import Cursors, Frame, Tab
from tests.services.rigs.people import Person

# A page waits 0.5 s and more, at random; one follower need not spare the server.
_BACKOFF_SECS = 0.2


class Follower:
    """One v1 socket in a thread, opened again whenever it is lost, with a fresh token, where the last one ended.

    Attributes:
        connects: how many sockets it has had.
        codes: why those ended that did.
    """

    def __init__(self, url: str, person: Person) -> None:
        self.connects = 0
        self.codes: list[int | None] = []
        self._url = url
        self._person = person
        self._tab: Tab | None = None
        self._events: list[Frame] = []
        self._cursors: Cursors = {}
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._follow()), name="follower")

    def wait_online(self, deadline_secs: float = 30) -> None:
        """Wait until it is connected and authenticated."""
        wait_for(lambda: self.online, deadline_secs, "the follower is online")

    @property
    def online(self) -> bool:
        """Whether its socket is open and authenticated."""
        tab = self._tab
        return tab is not None and not tab.closed

    def wait_for_event(self, event_id: str, deadline_secs: float = 10) -> None:
        """Wait for an event, on whichever socket."""
        wait_for(lambda: event_id in self.ids, deadline_secs, f"{event_id} arrives ({self.ids})")

    @property
    def events(self) -> list[Frame]:
        """All events that came, over all its sockets."""
        tab = self._tab
        return [*self._events, *(tab.events if tab else ())]

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [event["id"] for event in self.events]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()

    async def _follow(self) -> None:
        while not self._leaving.is_set():
            # AssertionError: closed before AUTH OK, or no token to be had.
            with suppress(OSError, AssertionError, WebSocketException):
                await self._stay()
            await asyncio.sleep(_BACKOFF_SECS)

    async def _stay(self) -> None:
        async with await Tab.open(self._url, self._person.token, since=self._cursors) as tab:
            self._tab = tab
            self.connects += 1
            while not (tab.closed or self._leaving.is_set()):
                await asyncio.sleep(0.05)
            if tab.closed:
                self.codes.append(tab.close_code)
        self._events += tab.events
        self._cursors = tab.cursors
        self._tab = None
