"""Who listens to what (docs/node.md)."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from apps.realtime.brokers.base import OnEvent, OnReopened, ignore_reopened
from apps.realtime.core.actions import Taken
from apps.realtime.core.codes import GapReason, StreamState
from apps.realtime.core.control import Change
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, CONTROL, Stream, user_stream
from apps.realtime.core.resume import Cursor, Head
from apps.realtime.node.hub import LINGER_SECS, Hub
from tests.unit.realtime.core.driver import EPOCH, durable, event

from .tabs import Table, TableReader, confirm_all
from .virtual_time import virtual_time

MINE = user_stream("7")


class FakeListener:
    """Notes what is opened and released; `open` waits while the test says so."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.on_reopened: OnReopened = ignore_reopened
        self.calls: list[tuple[str, Stream]] = []
        self.may_open = asyncio.Event()
        self.may_open.set()

    def start(self, on_event: OnEvent, on_reopened: OnReopened = ignore_reopened) -> None:
        self.on_reopened = on_reopened

    async def open(self, stream: Stream) -> None:
        self.calls.append(("open", stream))
        await self.may_open.wait()

    def release(self, stream: Stream) -> None:
        self.calls.append(("release", stream))

    async def close(self) -> None:
        """Nothing to let go of."""


class Tab:
    """A member that notes what it gets."""

    def __init__(self, then: Callable[[], Any] = lambda: None) -> None:
        self.got: list[Event] = []
        self.at = Cursor(EPOCH, 0)
        self._then = then

    def deliver(self, event: Event) -> bool:
        self.got.append(event)
        self._then()
        return True

    def take(self, event: Event) -> Taken:
        self.got.append(event)
        self.at = Cursor(event.epoch, event.seq)
        return Taken.SENT

    def wants(self, stream: Stream) -> Cursor | None:
        return self.at

    def gap(self, stream: Stream, head: Head, reason: GapReason) -> bool:
        """Nothing here needs one."""
        return False


class Loop:
    """Keeps the timers that the hub sets, for a test that lets time pass by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.timers: list[tuple[float, asyncio.TimerHandle, Callable[..., None], tuple[Any, ...]]] = []

    def call_later(self, secs: float, callback: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        handle = self._loop.call_later(3_600, callback, *args)
        self.timers.append((secs, handle, callback, args))
        return handle

    def pass_time(self) -> None:
        """Everything is due that was not cancelled."""
        timers, self.timers = self.timers, []
        for _, handle, callback, args in timers:
            if not handle.cancelled():
                handle.cancel()
                callback(*args)


@pytest.fixture
async def listener() -> FakeListener:
    """The listener below the hub."""
    return FakeListener()


@pytest.fixture
async def reader() -> TableReader:
    """The reader beside it: one event has been numbered."""
    return TableReader(Table(head=1))


@pytest.fixture
async def hub(listener: FakeListener, reader: TableReader) -> Hub:
    """A hub without members."""

    async def rotate(stream: Stream, at: Cursor) -> None:
        raise AssertionError("nothing runs back here")

    return Hub(listener, reader, rotate, confirm_all, lambda event: None, replay_max=500, head_check_secs=30)  # type: ignore[arg-type]


@pytest.fixture
async def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """The hub's view of the event loop."""
    loop = Loop(asyncio.get_running_loop())
    monkeypatch.setattr("apps.realtime.node.hub.asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    return loop


async def test_only_members_of_the_stream_get_an_event_each_once(hub: Hub) -> None:
    mine, both, other = Tab(), Tab(), Tab()
    await hub.join(MINE, mine)
    await hub.join(MINE, both)
    await hub.join(MINE, both)
    await hub.join(ALL, both)
    await hub.join(user_stream("8"), other)
    one = event(MINE)
    hub.deliver(one)
    hub.deliver(event(user_stream("9")))
    assert (mine.got, both.got, other.got) == ([one], [one], [])


async def test_joining_returns_when_the_stream_is_open(hub: Hub, listener: FakeListener) -> None:
    listener.may_open.clear()
    tab = Tab()
    joining = asyncio.create_task(hub.join(MINE, tab))
    await asyncio.sleep(0)
    assert not joining.done()
    # What comes while the stream opens already counts: the session holds it.
    hub.deliver(event(MINE))
    assert len(tab.got) == 1
    listener.may_open.set()
    await joining


async def test_what_is_told_to_nodes_reaches_no_socket_and_what_may_be_lost_is_told_too(listener: FakeListener) -> None:
    told: list[Event | None] = []

    async def rotate(stream: Stream, at: Cursor) -> None:
        raise AssertionError("nothing runs back here")

    reader: Any = TableReader(Table(head=1))
    hub = Hub(listener, reader, rotate, confirm_all, told.append, replay_max=500, head_check_secs=30)
    hub.start()
    tab = Tab()
    await hub.join(ALL, tab)
    await asyncio.sleep(0)
    assert ("open", CONTROL) in listener.calls
    change = Change("7").event("m1")
    hub.deliver(change)
    listener.on_reopened(CONTROL)
    assert (told, tab.got) == ([change, None], [])
    await hub.close()


async def test_a_stream_is_released_some_seconds_after_its_last_member_left(
    hub: Hub, listener: FakeListener, loop: Loop
) -> None:
    one, other = Tab(), Tab()
    await hub.join(MINE, one)
    await hub.join(MINE, other)
    hub.leave(MINE, one)
    assert loop.timers == []
    hub.leave(MINE, other)
    assert [secs for secs, *_ in loop.timers] == [LINGER_SECS]
    assert listener.calls == [("open", MINE)] * 2
    loop.pass_time()
    assert listener.calls[-1] == ("release", MINE)
    assert hub.position(MINE) == Cursor("", 0)


async def test_a_page_that_is_reloaded_finds_its_stream_open(hub: Hub, listener: FakeListener, loop: Loop) -> None:
    for _ in range(3):
        tab = Tab()
        await hub.join(MINE, tab)
        hub.leave(MINE, tab)
    tab = Tab()
    await hub.join(MINE, tab)
    loop.pass_time()
    assert ("release", MINE) not in listener.calls
    hub.deliver(event(MINE))
    assert len(tab.got) == 1


async def test_everybody_s_stream_is_never_released(hub: Hub, listener: FakeListener, loop: Loop) -> None:
    tab = Tab()
    await hub.join(ALL, tab)
    hub.leave(ALL, tab)
    assert loop.timers == []
    hub.deliver(event(ALL))
    assert tab.got == []


async def test_leaving_what_one_is_not_in_does_nothing(hub: Hub, loop: Loop) -> None:
    tab = Tab()
    hub.leave(MINE, tab)
    await hub.join(MINE, tab)
    hub.leave(MINE, Tab())
    assert loop.timers == []
    hub.deliver(event(MINE))
    assert len(tab.got) == 1


async def test_a_member_that_leaves_while_it_is_served_harms_no_other(hub: Hub) -> None:
    leaver = Tab(lambda: hub.leave(MINE, leaver))
    others = [Tab(), Tab()]
    await hub.join(MINE, others[0])
    await hub.join(MINE, leaver)
    await hub.join(MINE, others[1])
    hub.deliver(event(MINE))
    hub.deliver(event(MINE))
    assert [len(tab.got) for tab in (others[0], leaver, others[1])] == [2, 1, 2]


async def test_the_last_member_may_leave_while_it_is_served(hub: Hub, loop: Loop) -> None:
    leaver = Tab(lambda: hub.leave(MINE, leaver))
    await hub.join(MINE, leaver)
    hub.deliver(event(MINE))
    hub.deliver(event(MINE))
    assert len(leaver.got) == 1


async def test_a_durable_event_reaches_who_listens_and_is_known_from_then_on(hub: Hub, loop: Loop) -> None:
    mine, other = Tab(), Tab()
    await hub.join(MINE, mine)
    await hub.join(user_stream("8"), other)
    one = durable(MINE, 1)
    hub.deliver(one)
    assert (mine.got, other.got) == ([one], [])
    assert hub.position(MINE) == Cursor(EPOCH, 1)
    # Whoever comes later is served from memory, also while nobody else is there.
    hub.leave(MINE, mine)
    late = Tab()
    await hub.join(MINE, late)
    verdict = await hub.verdict(MINE, Cursor("another", 1))
    assert (verdict.state, verdict.reason) == (StreamState.GAP, GapReason.EPOCH)
    hub.catch_up(MINE, late)
    assert late.got == [one]


async def test_what_is_not_open_is_not_known(hub: Hub) -> None:
    hub.deliver(durable(MINE, 1))
    hub.observe(MINE, Head(EPOCH, 5, 0), Cursor(EPOCH, 0))
    hub.catch_up(MINE, Tab())
    assert hub.position(MINE) == Cursor("", 0)


@virtual_time
async def test_a_feed_that_was_interrupted_is_compared_with_the_database() -> None:
    listener, table = FakeListener(), Table(head=5)

    class Reader(TableReader):
        async def heads(self, streams: Any, *, changed_within_secs: float | None = None) -> dict[Stream, Head]:
            assert changed_within_secs is None
            head = await self.head(MINE)
            return dict.fromkeys(streams, head)

    async def rotate(stream: Stream, at: Cursor) -> None:
        raise AssertionError("nothing runs back here")

    hub = Hub(listener, Reader(table), rotate, confirm_all, lambda event: None, replay_max=500, head_check_secs=30)  # type: ignore[arg-type]
    hub.start()
    tab = Tab()
    tab.at = Cursor(EPOCH, 5)
    await hub.join(MINE, tab)
    await hub.verdict(MINE, None)
    table.commit(2)
    await asyncio.sleep(1)
    assert tab.got == []
    listener.on_reopened(MINE)
    await asyncio.sleep(1)
    assert [one.seq for one in tab.got] == [6, 7]
    await hub.close()
