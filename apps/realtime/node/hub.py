"""Hands each event to the sockets of this node that listen to its stream (docs/node.md)."""

import asyncio
from typing import Final, Protocol

from .. import metrics
from ..brokers.base import Listener
from ..core.events import Event
from ..core.names import ALL, Stream

# A page that is reloaded or followed by a link is back within this time and finds its stream still open.
LINGER_SECS: Final = 5.0


class Member(Protocol):
    """One socket of the node."""

    def deliver(self, event: Event) -> bool:
        """Take an event; True when it was written."""


class Hub:
    """Who listens to what. Everything happens in the node's event loop, and delivery awaits nothing."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        # A dict as an ordered set: who came first is served first.
        self._members: dict[Stream, dict[Member, None]] = {}
        self._lingering: dict[Stream, asyncio.TimerHandle] = {}

    async def join(self, stream: Stream, member: Member) -> None:
        """Return when the stream's events reach the member."""
        linger = self._lingering.pop(stream, None)
        if linger is not None:
            linger.cancel()
        self._members.setdefault(stream, {})[member] = None
        await self._listener.open(stream)

    def leave(self, stream: Stream, member: Member) -> None:
        """The member gets nothing more of this stream."""
        members = self._members.get(stream)
        if members is None or member not in members:
            return
        del members[member]
        if not members:
            del self._members[stream]
            if stream != ALL:
                loop = asyncio.get_running_loop()
                self._lingering[stream] = loop.call_later(LINGER_SECS, self._release, stream)

    def deliver(self, event: Event) -> None:
        """An event came from the broker."""
        members = self._members.get(event.stream)
        if members is None:
            return
        # A copy: a member that turns out to be too slow leaves while we are at it.
        metrics.DELIVERED.labels("live").inc(sum(member.deliver(event) for member in list(members)))

    def _release(self, stream: Stream) -> None:
        del self._lingering[stream]
        self._listener.release(stream)
