"""Which sockets of this node listen to what, and when a stream's feed is opened and let go (docs/node.md)."""

import asyncio
from collections.abc import Callable
from typing import Final

from ..brokers.base import Listener
from ..core.cache import EventCache
from ..core.events import Event
from ..core.names import ALL, CONTROL, Stream
from ..core.resume import Cursor, Head, Verdict
from ..tracing import enabled, step
from .delivery_times import DeliveryTimes
from .heads import HeadChecks
from .history import HistoryReader
from .shared_feed import Confirm, Member, Rotate, SharedFeed

# Called for each control message; with None when some may have been lost.
OnControl = Callable[[Event | None], None]

# A page that is reloaded or followed by a link is back within this time and finds its stream still open.
LINGER_SECS: Final = 5.0


class Hub:
    """Who listens to what. Everything happens in the node's event loop, and delivery awaits nothing."""

    def __init__(
        self,
        listener: Listener,
        reader: HistoryReader,
        rotate: Rotate,
        confirm: Confirm,
        on_control: OnControl,
        *,
        replay_max: int,
        head_check_secs: float,
    ) -> None:
        self._listener = listener
        self._reader = reader
        self._rotate = rotate
        self._confirm = confirm
        self._on_control = on_control
        # Until the control messages of the site come.
        self._opening: asyncio.Task[None] | None = None
        self._replay_max = replay_max
        self._cache = EventCache()
        self._times = DeliveryTimes()
        self._feeds: dict[Stream, SharedFeed] = {}
        self._lingering: dict[Stream, asyncio.TimerHandle] = {}
        # Always there, as the listener's is: a node without sockets notices, too, whether its database answers again.
        self._feed(ALL)
        self._heads = HeadChecks(
            reader,
            streams=lambda: list(self._feeds),
            position=self.position,
            observe=self.observe,
            link_down=lambda: listener.problem is not None or reader.problem is not None,
            every_secs=head_check_secs,
        )

    def start(self) -> None:
        """Begin to listen."""
        self._listener.start(self.deliver, self._reopened)
        self._opening = asyncio.create_task(self._listener.open(CONTROL))
        self._heads.start()

    async def close(self) -> None:
        """Stop listening."""
        for feed in self._feeds.values():
            feed.close()
        for linger in self._lingering.values():
            linger.cancel()
        if self._opening is not None:
            self._opening.cancel()
        await self._heads.close()
        await self._listener.close()

    async def join(self, stream: Stream, member: Member) -> None:
        """Return when the stream's events reach the member."""
        linger = self._lingering.pop(stream, None)
        if linger is not None:
            linger.cancel()
        self._feed(stream).members[member] = None
        await self._listener.open(stream)

    async def verdict(self, stream: Stream, since: Cursor | None, *, keeps_history: bool = True) -> Verdict:
        """Whether a member can go on where it was; it has joined.

        Raises:
            django.db.Error, TimeoutError: no verdict is possible.
        """
        return await self._feeds[stream].verdict(since, keeps_history=keeps_history)

    def catch_up(self, stream: Stream, member: Member) -> None:
        """Bring a member to the head of the stream, as far as its window allows."""
        feed = self._feeds.get(stream)
        if feed is not None:
            feed.catch_up(member)

    def leave(self, stream: Stream, member: Member) -> None:
        """The member gets nothing more of this stream."""
        feed = self._feeds.get(stream)
        if feed is None or member not in feed.members:
            return
        feed.remove(member)
        if not feed.members and stream != ALL:
            loop = asyncio.get_running_loop()
            self._lingering[stream] = loop.call_later(LINGER_SECS, self._release, stream)

    def deliver(self, event: Event) -> None:
        """An event came from the broker."""
        if event.stream == CONTROL:
            self._on_control(event)
            return
        feed = self._feeds.get(event.stream)
        if feed is None:
            return
        sockets = feed.deliver(event)
        if sockets:
            self._times.written(event)
        if enabled():
            step(f"written to {sockets} sockets", event.stream, event.id, event.mid)

    def position(self, stream: Stream) -> Cursor:
        """The highest event of the stream that is known here."""
        feed = self._feeds.get(stream)
        return Cursor("", 0) if feed is None else feed.position

    def observe(self, stream: Stream, head: Head, since: Cursor) -> None:
        """A head was read; `since` is the `position` of the stream when the reading began."""
        feed = self._feeds.get(stream)
        if feed is not None:
            feed.observe(head, since)

    def _reopened(self, stream: Stream) -> None:
        if stream == CONTROL:
            self._on_control(None)
        else:
            self._heads.reopened((stream,))

    def _feed(self, stream: Stream) -> SharedFeed:
        feed = self._feeds.get(stream)
        if feed is None:
            feed = self._feeds[stream] = SharedFeed(
                stream,
                self._cache,
                self._reader,
                self._rotate,
                self._one_rotated,
                self._confirm,
                replay_max=self._replay_max,
            )
        return feed

    def _one_rotated(self) -> None:
        # Seldom alone: an operator rotates all of them, and those without a row show it to nobody who does not ask.
        self._heads.reopened(None)

    def _release(self, stream: Stream) -> None:
        del self._lingering[stream]
        self._feeds.pop(stream).close()
        self._listener.release(stream)
