"""A whole site in one thread and no time: publishing process, relay, node and browsers (docs/architecture.md).

Everything that is ours is real, on the database of the tests. What lies between is in the hands of an adversary: the
wire from publishers to the node, the database's answers, the browsers' networks. Time is virtual, so that holes,
heartbeats and checks of heads take none.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, ParamSpec, TypeVar

from django.db import OperationalError, transaction
from django.db.models.functions import Now

from apps.realtime import EVERYONE, Topic, notify, rotation
from apps.realtime.brokers.base import OnEvent, OnReopened, Settled, ignore_reopened
from apps.realtime.brokers.memory import Exchange
from apps.realtime.conf import realtime_settings
from apps.realtime.core import window
from apps.realtime.core.codes import CloseCode, GapReason
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, Stream, topic_stream
from apps.realtime.core.resume import Cursor
from apps.realtime.history import heads
from apps.realtime.models import Deployment, StoredEvent
from apps.realtime.models import Stream as StreamRow
from apps.realtime.node.node import Node
from apps.realtime.publishing import sequencer
from apps.realtime.publishing.relay import Relay
from apps.realtime.publishing.retention import Pruner
from apps.realtime.publishing.settlement import Place, confirm, release
from apps.realtime.topics import topic_registry
from tests.unit.killed import killed_at
from tests.unit.realtime.core.driver import event
from tests.unit.realtime.node.sockets import Socket
from tests.unit.realtime.node.virtual_time import VirtualTimeLoop

NEWS: Final = topic_stream("news")
RECIPIENTS: Final[dict[Stream, Any]] = {ALL: EVERYONE, NEWS: Topic("news")}
REPLAY_MAX: Final = 12
# Until everything is where it belongs: a client that was just told to come back later, an overdue reader, two checks.
SETTLE_SECS: Final = 150

P = ParamSpec("P")
T = TypeVar("T")


class Wire:
    """The broker: what is published lies here until the adversary hands it over.

    Attributes:
        problem: why the node hears nothing; None while the link is up.
        events: published and not heard by the node.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self.events: list[Event] = []
        self.on_event: OnEvent
        self.on_reopened: OnReopened

    def start(self, on_event: OnEvent, on_reopened: OnReopened = ignore_reopened) -> None:
        self.on_event, self.on_reopened = on_event, on_reopened

    async def open(self, stream: Stream) -> None:
        """With the next turn of the loop."""
        await asyncio.sleep(0)

    def release(self, stream: Stream) -> None:
        """What still comes is ignored by the hub."""

    async def close(self) -> None:
        """What lies here is lost with the node's queues."""
        self.events.clear()

    def cut(self) -> None:
        self.problem = "away"
        self.events.clear()

    def mend(self) -> None:
        self.problem = None
        for stream in RECIPIENTS:
            self.on_reopened(stream)


class WirePublisher:
    """The relay's publisher."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @property
    def problem(self) -> str | None:
        return self._wire.problem

    def start(self) -> None:
        """Nothing to connect."""

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        if self._wire.problem is None:
            self._wire.events.append(event)
        if settled is not None:
            settled(event, self._wire.problem is None)

    def flush(self, timeout_secs: float) -> bool:
        return True

    def close(self, timeout_secs: float) -> None:
        """Nothing to disconnect."""


class OneThread:
    """In the place of `DatabaseThreads`: asks at once, and lets some time pass before and after."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.away = False
        self.latency_secs = 0.004

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(self.latency_secs / 2)
        if self.away:
            self.problem = "away"
            raise OperationalError("the database is away")
        self.problem = None
        answer = function(*args, **kwargs)
        await asyncio.sleep(self.latency_secs / 2)
        return answer

    def close(self) -> None:
        """There is no thread."""


class Browser:
    """A client that does what protocol.md asks of it, and believes nothing.

    Attributes:
        cursors: by stream, the last event that it applied.
        applied: by stream, the numbers of the events that it applied since the beginning.
        gaps: how many it was told of, by stream.
        acknowledges: False for one that receives and says nothing.
        reads: clear for one that leaves what comes unread.
    """

    def __init__(self, site: "Site") -> None:
        self.cursors: dict[Stream, Cursor] = {}
        self.applied: dict[Stream, list[int]] = defaultdict(list)
        self.gaps: dict[Stream, int] = defaultdict(int)
        self.acknowledges = True
        self.reads = asyncio.Event()
        self.reads.set()
        self.away_secs = 0.0
        self._site = site
        self._socket: Socket | None = None
        # Event frames of this connection.
        self._received = self._acknowledged = 0
        # How far each numbering was trimmed when it asked to resume.
        self._floors: dict[tuple[Stream, str], int] = {}
        self._following: asyncio.Task[None] | None = None
        self.task = asyncio.get_running_loop().create_task(self._live())

    def cut(self, away_secs: float) -> None:
        """Its network is gone; what has not been read is lost."""
        self.away_secs = away_secs
        if self._following is not None:
            self._following.cancel()

    def acknowledge(self) -> None:
        if self._socket is not None and self._received:
            self._socket.say({"id": "ACK", "data": {"n": self._received}})
            self._acknowledged = self._received

    async def _live(self) -> None:
        while True:
            self._socket = Socket(self._site.node.serve).open()
            self._received = self._acknowledged = 0
            self._following = asyncio.ensure_future(self._follow(self._socket))
            await asyncio.wait([self._following])
            if not self._following.cancelled():
                self._following.result()
            self._socket.hang_up()
            assert self._socket._task is not None
            await asyncio.wait([self._socket._task])
            # Where the node was killed.
            if not self._socket._task.cancelled():
                self._socket._task.result()
            await asyncio.sleep(self.away_secs)
            self.away_secs = 0.1

    async def _follow(self, socket: Socket) -> None:
        authenticated = False
        while True:
            text = await socket._texts.get()
            if text is None:
                assert socket.code is not None
                assert CloseCode(socket.code).reconnect, socket.code
                return
            await self.reads.wait()
            if text == "<3":
                socket.say("<3")
                continue
            frame = json.loads(text)
            data = frame["data"]
            match frame["id"]:
                case "AUTH REQUEST":
                    if data["reason"] == "connect":
                        socket.say({"id": "AUTH", "data": self._auth()})
                case "AUTH OK":
                    authenticated = True
                    for name, shown in data["streams"].items():
                        if name in RECIPIENTS:
                            self._announced(Stream(name), shown)
                case "GAP":
                    if data["stream"] in RECIPIENTS:
                        self._broken(Stream(data["stream"]), data)
                case "RECONNECT":
                    self.away_secs = data["after_ms"] / 1000
                case _:
                    assert authenticated, "an event before AUTH OK"
                    self._received += 1
                    assert self._received - self._acknowledged <= window.WINDOW_EVENTS, "an event beyond the window"
                    if "seq" in frame:
                        self._apply(Stream(frame["stream"]), frame["seq"], data)
                    if self.acknowledges:
                        self.acknowledge()

    def _auth(self) -> dict[str, Any]:
        self._floors = dict(self._site.floors)
        since = {stream: cursor._asdict() for stream, cursor in self.cursors.items()}
        return {"token": self._site.token, "topics": ["news"], "since": since}

    def _announced(self, stream: Stream, shown: dict[str, Any]) -> None:
        cursor = self.cursors.get(stream)
        if shown["state"] == "new":
            assert cursor is None
            self.cursors[stream] = Cursor(shown["epoch"], shown["seq"])
        elif shown["state"] == "recovered":
            assert cursor == Cursor(shown["epoch"], shown["seq"] - shown["replay"]), "it was told of another position"
            assert shown["replay"] <= REPLAY_MAX
            trimmed = self._floors.get((stream, cursor.epoch), 0)
            assert trimmed <= cursor.seq, "recovered, although something was trimmed"
        else:
            self._broken(stream, shown)

    def _broken(self, stream: Stream, shown: dict[str, Any]) -> None:
        """A gap, for which there has to be a reason."""
        at, there = self.cursors[stream], Cursor(shown["epoch"], shown["seq"])
        match shown["reason"]:
            case GapReason.EPOCH:
                assert at.epoch != there.epoch, "nothing was rotated"
            case GapReason.TRIMMED:
                assert at.epoch == there.epoch
                assert self._site.floors[stream, at.epoch] > at.seq, f"what follows {at} was there"
            case reason:
                assert reason == GapReason.TOO_MANY
                assert at.epoch == there.epoch
                assert there.seq - at.seq > REPLAY_MAX
        assert there.epoch in self._site.epochs
        self.gaps[stream] += 1
        self.cursors[stream] = there

    def _apply(self, stream: Stream, seq: int, data: dict[str, Any]) -> None:
        epoch, at = self.cursors[stream]
        assert seq == at + 1, f"{stream}: {seq} came after {at}"
        assert self._site.numbers[stream, epoch][seq] == data["n"], f"{stream}: {seq} is another event"
        self.cursors[stream] = Cursor(epoch, seq)
        self.applied[stream].append(data["n"])


class Site:
    """All of it. Every method is one step of somebody; nothing else happens before `pass_time`.

    Attributes:
        committed: by stream, the events in the order of their commits.
        numbered: the same, in the order of their numbers.
        numbers: which event has which number, by stream and epoch.
        floors: how far a numbering was trimmed.
        epochs: all that there were.
    """

    def __init__(self, token: str, patch_node: Callable[[Wire, OneThread], None]) -> None:
        StoredEvent.objects.all().delete()
        StreamRow.objects.all().delete()
        Deployment.objects.all().delete()
        self.token = token
        self.loop = VirtualTimeLoop()
        self.wire, self.database = Wire(), OneThread()
        patch_node(self.wire, self.database)
        self.conf = replace(realtime_settings(), replay_max=REPLAY_MAX, max_sockets_per_user=100)
        self.committed: dict[Stream, list[int]] = defaultdict(list)
        self.numbered: dict[Stream, list[int]] = defaultdict(list)
        self.numbers: dict[tuple[Stream, str], dict[int, int]] = defaultdict(dict)
        self.floors: dict[tuple[Stream, str], int] = defaultdict(int)
        self.epochs: set[str] = set()
        # Of the publishing process: numbered and not published, published and not marked.
        self.to_publish: list[Event] = []
        self.to_mark: list[tuple[Event, bool]] = []
        self._count = 0
        self._relay = Relay(self.conf, WirePublisher(self.wire))
        self.node = self._run(self._new_node())
        self.browsers = [self._run(self._new_browser()) for _ in range(2)]
        self.pass_time(1)
        assert all(len(browser.cursors) == len(RECIPIENTS) for browser in self.browsers)
        self.look()

    # Publishers ----------------------------------------------------------------------------------

    def notify(self, stream: Stream, count: int, *, commits: bool = True) -> None:
        """A business transaction."""
        first, self._count = self._count + 1, self._count + count
        with transaction.atomic():
            for number in range(first, first + count):
                notify(RECIPIENTS[stream], "note/ADDED", {"n": number})
            transaction.set_rollback(not commits)
        if commits:
            self.committed[stream] += range(first, first + count)

    def number(self, dies_at: int | None = None) -> None:
        """The publishing process numbers what waits, and dies at a statement or gets to its end."""
        try:
            with killed_at(dies_at):
                self.to_publish += sequencer.number(RECIPIENTS)
        except OperationalError:
            self.die()
        self.look()

    def publish(self, count: int) -> None:
        for one in self.to_publish[:count]:
            if self.wire.problem is None:
                self.wire.events.append(one)
            self.to_mark.append((one, self.wire.problem is None))
        del self.to_publish[:count]

    def mark(self, count: int) -> None:
        marked, self.to_mark = self.to_mark[:count], self.to_mark[count:]
        confirm(_place(one) for one, confirmed in marked if confirmed)
        release(_place(one) for one, confirmed in marked if not confirmed)

    def die(self) -> None:
        """The publishing process is killed; another one takes its place."""
        self.to_publish.clear()
        self.to_mark.clear()

    def relay(self, *, leases_run_out: bool) -> None:
        if leases_run_out:
            StoredEvent.objects.update(leased_until=None, created_at=Now() - self._relay._lease)
        for _ in range(3):
            self._relay._turn()
            self._relay._wait(0, more=True)
        assert self._relay.problem is None, self._relay.problem
        self.look()

    # The database --------------------------------------------------------------------------------

    def prune(self, keep: int) -> None:
        Pruner(replace(self.conf, history_max_events=keep)).turn()
        self.look()

    def rotate(self, stream: Stream | None) -> None:
        """The operator ends one numbering, or all of them."""
        self.epochs.add(rotation.rotate_all()[0] if stream is None else rotation.rotate_stream(stream))
        self.look()

    def look(self) -> None:
        """Note what was numbered, and that no number is given twice or left out."""
        if not self.epochs:
            self.epochs.add(Deployment.objects.get().epoch)
        for row in StreamRow.objects.all():
            assert row.epoch in self.epochs, "a numbering was ended by nobody"
            stream = Stream(row.name)
            known = self.numbers[stream, row.epoch]
            self.floors[stream, row.epoch] = row.floor
            stored = StoredEvent.objects.filter(stream=stream, epoch=row.epoch).order_by("seq")
            rows = stored.values_list("seq", "frame")
            here = {seq: json.loads(frame)["data"]["n"] for seq, frame in rows if seq is not None}
            assert list(here) == list(range(row.floor + 1, row.head + 1)), "numbers have holes"
            assert all(known.get(seq, number) == number for seq, number in here.items()), "a number was given twice"
            self.numbered[stream] += [number for seq, number in here.items() if seq not in known]
            known |= here

    # Node and browsers ---------------------------------------------------------------------------

    def hand_over(self, index: int, *, again: bool = False) -> None:
        """One of the published events, whichever, reaches the node."""
        events = self.wire.events
        one = events[index] if again else events.pop(index)
        self._run(_call(self.wire.on_event, one))

    def lose(self, index: int) -> None:
        del self.wire.events[index]

    def push(self, stream: Stream) -> None:
        """An ephemeral event."""
        self._run(_call(self.wire.on_event, event(stream, {"n": 0})))

    def mend(self) -> None:
        """The link to the broker is there again."""
        self._run(_call(self.wire.mend))

    def restart_node(self) -> None:
        """The node is killed with all its sockets."""

        async def restart() -> None:
            for browser in self.browsers:
                browser.cut(0.5)
            await self.node.close()
            self.node = await self._new_node()

        self._run(restart())

    def pass_time(self, secs: float) -> None:
        self._run(asyncio.sleep(secs))
        for browser in self.browsers:
            if browser.task.done():
                browser.task.result()

    # The end -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """The adversary gives up: what was committed has to arrive."""
        self.database.away, self.database.latency_secs = False, 0.004
        if self.wire.problem is not None:
            self.mend()
        for browser in self.browsers:
            browser.acknowledges = True
            browser.reads.set()
            browser.acknowledge()
        # Whatever the process did not get done, and whatever the wire still holds, is lost.
        self.die()
        self.relay(leases_run_out=True)
        self.wire.events.clear()
        self.pass_time(SETTLE_SECS)

    def check(self) -> None:
        """After `settle`: everybody has everything, but for what they were told that they miss."""
        unconfirmed = StoredEvent.objects.filter(confirmed_at=None)
        assert not unconfirmed.exists(), list(unconfirmed.values())
        for stream in RECIPIENTS:
            assert self.numbered[stream] == self.committed[stream], "the order of numbers is not the order of commits"
            here = heads([stream])[stream]
            for browser in self.browsers:
                assert browser.cursors[stream] == Cursor(here.epoch, here.head), f"{stream} stands still"
                if not browser.gaps[stream]:
                    assert browser.applied[stream] == self.committed[stream]

    def close(self) -> None:
        async def close() -> None:
            for browser in self.browsers:
                browser.task.cancel()
            await self.node.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(close())
        self.loop.close()

    def _run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def _new_node(self) -> Node:
        return Node(self.conf, Exchange(), topic_registry())

    async def _new_browser(self) -> Browser:
        return Browser(self)


async def _call(function: Callable[..., None], *args: Any) -> None:
    function(*args)


def _place(one: Event) -> Place:
    return Place(one.stream, one.epoch, one.seq)
