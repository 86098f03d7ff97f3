"""What a node answers when somebody asks all nodes (docs/commands.md, "How nodes answer")."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from apps.realtime.core.control import Asked
from apps.realtime.core.events import Event
from apps.realtime.core.live import LiveSession, loaded
from apps.realtime.core.names import CONTROL, user_stream
from apps.realtime.core.session import Identity, Instant, Session
from apps.realtime.node import answers as module
from apps.realtime.node.answers import LOOK_ALONE_SECS, Answers
from apps.realtime.node_models import ANSWER_WITHIN, SEEN_EVERY_SECS, LiveNode, NodeAnswer, NodeRequest
from tests.unit.realtime.core.driver import ALICE, BOB, Driven, durable

from .conftest import MakeNode
from .virtual_time import virtual_time

P = ParamSpec("P")
T = TypeVar("T")
MOMENT_SECS = 0.1

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


class Database:
    """In the place of `DatabaseThreads`: asks at once; `away` while it gives no answer, `asked` how often."""

    away = False
    asked = 0

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(0)
        self.asked += 1
        if self.away:
            raise OperationalError("it is away")
        return function(*args, **kwargs)


class Socket:
    """An open socket without a network; its session is real."""

    def __init__(self, user_id: str | None = ALICE, dialect: str = "v1", topics: tuple[str, ...] = ()) -> None:
        driven = Driven(dialect)
        if topics:
            driven.sign_in(topics=list(topics))
        else:
            driven.connect()
            if user_id is not None:
                driven.token(accept=True, user_id=user_id)
                driven.open()
        self.session: Session = driven.session
        self.session.sid = f"{id(self):016x}"
        self.address: str | None = "192.0.2.1"
        self.connected = Instant(asyncio.get_running_loop().time(), 1_800_000_000.0)
        self.revoked = False

    @property
    def identity(self) -> Identity | None:
        return self.session.identity

    def revoke(self) -> None:
        self.revoked = True


class Rig:
    """A node that answers over a real database in one thread."""

    def __init__(self) -> None:
        self.database = Database()
        self.sockets: set[Socket] = set()
        self.alone = False
        self.answers = Answers(
            self.database,  # type: ignore[arg-type]
            self.sockets,
            every_secs=3_600,
            alone=lambda: self.alone,
        )

    def socket(self, *args: Any, **kwargs: Any) -> Socket:
        socket = Socket(*args, **kwargs)
        self.sockets.add(socket)
        return socket

    async def ask(self, kind: str = "sessions", **which: Any) -> NodeAnswer:
        """Its answer to a new request of which it is told."""
        # The database's clock goes on meanwhile, the loop's does not.
        await asyncio.sleep(1)
        request = NodeRequest.objects.create(kind=kind, **which)
        self.answers.look()
        await asyncio.sleep(MOMENT_SECS)
        return NodeAnswer.objects.get(request_id=request.id)


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    rig = Rig()
    rig.answers.start()
    await asyncio.sleep(MOMENT_SECS)
    yield rig
    await rig.answers.close()


def sessions(answer: NodeAnswer) -> list[LiveSession]:
    return loaded(answer.sessions)


# The node ----------------------------------------------------------------------------------------


@virtual_time
async def test_a_node_is_there_from_its_start_to_its_end() -> None:
    async with running() as rig:
        node = LiveNode.objects.get()
        assert node.name == rig.answers.name
        LiveNode.objects.update(seen_at=Now() - timedelta(minutes=1))
        stale = LiveNode.objects.get().seen_at
        await asyncio.sleep(SEEN_EVERY_SECS + MOMENT_SECS)
        assert LiveNode.objects.get().seen_at > stale
        # The relay took it away, because it could not be renewed for long.
        LiveNode.objects.all().delete()
        await asyncio.sleep(SEEN_EVERY_SECS + MOMENT_SECS)
        assert LiveNode.objects.get().id == node.id
        rig.answers.leave()
        rig.answers.leave()
        await asyncio.sleep(MOMENT_SECS)
        assert not LiveNode.objects.exists()


@virtual_time
async def test_a_node_that_never_started_leaves_nothing() -> None:
    rig = Rig()
    await rig.answers.close()
    assert not LiveNode.objects.exists()


@virtual_time
async def test_an_end_without_a_database_is_an_end() -> None:
    async with running() as rig:
        rig.database.away = True
    assert LiveNode.objects.exists()


async def test_a_drain_takes_the_node_s_row_along(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node()
    monkeypatch.setattr(node.answers, "_database", Database())
    node.answers.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while not LiveNode.objects.exists():
            await asyncio.sleep(0.01)
        await node.drain(1)
        while LiveNode.objects.exists():
            await asyncio.sleep(0.01)


# Sessions ----------------------------------------------------------------------------------------


@virtual_time
async def test_it_tells_how_each_of_its_sockets_stands() -> None:
    async with running() as rig:
        tab = rig.socket(topics=("news", "order-1"))
        tab.session.take(durable(user_stream(ALICE), 1))
        answer = await rig.ask()
        assert sessions(answer) == [
            LiveSession(
                node=rig.answers.name,
                sid=tab.session.sid,
                user_id=ALICE,
                username=tab.session.identity.username,  # type: ignore[union-attr]
                dialect="v1",
                since=1_800_000_000.0,
                topics=("news", "order-1"),
                more_topics=0,
                position=1,
                unacked=1,
                address="192.0.2.1",
            )
        ]
        assert (answer.total, answer.kicked, tab.revoked) == (1, 0, False)


@virtual_time
async def test_it_tells_of_seed_sockets_and_of_those_that_have_not_authenticated() -> None:
    async with running() as rig:
        seed, nobody = rig.socket(dialect="seed"), rig.socket(None)
        told = {one.sid: one for one in sessions(await rig.ask())}
        assert (told[seed.session.sid].dialect, told[seed.session.sid].unacked) == ("seed", None)
        unknown = told[nobody.session.sid]
        assert (unknown.user_id, unknown.username, unknown.position) == (None, "", None)


@virtual_time
async def test_it_tells_of_one_user_alone() -> None:
    async with running() as rig:
        rig.socket(None)
        rig.socket(ALICE)
        bobs = rig.socket(BOB)
        answer = await rig.ask(user_id=BOB)
        assert ([one.sid for one in sessions(answer)], answer.total) == ([bobs.session.sid], 1)
        assert (await rig.ask(user_id="9")).total == 0


@virtual_time
async def test_what_it_tells_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    monkeypatch.setattr(module, "TOPICS_SHOWN", 1)
    async with running() as rig:
        rig.socket()
        await asyncio.sleep(1)
        later = [rig.socket(topics=("news", "order-1", "order-2")) for _ in range(2)]
        answer = await rig.ask()
        told = sessions(answer)
        assert ({one.sid for one in told}, answer.total) == ({one.session.sid for one in later}, 3)
        assert [(one.topics, one.more_topics) for one in told] == [(("news",), 2)] * 2


# Kick --------------------------------------------------------------------------------------------


@virtual_time
async def test_a_session_is_kicked_and_no_other() -> None:
    async with running() as rig:
        mine, other = rig.socket(), rig.socket()
        answer = await rig.ask("kick", sid=mine.session.sid)
        assert (mine.revoked, other.revoked, answer.kicked, answer.sessions) == (True, False, 1, "[]")
        assert (await rig.ask("kick", sid="0" * 16)).kicked == 0


@virtual_time
async def test_a_user_is_kicked_out_of_every_tab() -> None:
    async with running() as rig:
        mine, bobs = [rig.socket() for _ in range(3)], rig.socket(BOB)
        assert (await rig.ask("kick", user_id=ALICE)).kicked == 3
        assert all(tab.revoked for tab in mine)
        assert not bobs.revoked


@virtual_time
async def test_nobody_in_particular_is_nobody() -> None:
    async with running() as rig:
        tab = rig.socket()
        await rig.ask("kick")
        assert not tab.revoked


@virtual_time
async def test_who_came_back_after_the_kick_stays() -> None:
    """The node hears of it late, and the page was loaded again meanwhile."""
    async with running() as rig:
        before = rig.socket()
        await asyncio.sleep(60)
        after = rig.socket()
        answer = await rig.ask("kick", user_id=ALICE, created_at=Now() - timedelta(seconds=30))
        assert (before.revoked, after.revoked, answer.kicked) == (True, False, 1)


# Who hears of it ---------------------------------------------------------------------------------


@virtual_time
async def test_each_request_is_answered_once_and_not_by_who_comes_too_late() -> None:
    async with running() as rig:
        NodeRequest.objects.create(kind="sessions", created_at=Now() - 2 * ANSWER_WITHIN)
        first = await rig.ask()
        second = await rig.ask("kick", sid="0" * 16)
        asked = rig.database.asked
        rig.answers.look()
        await asyncio.sleep(MOMENT_SECS)
        assert rig.database.asked == asked + 1
        assert set(NodeAnswer.objects.values_list("request_id", flat=True)) == {first.request_id, second.request_id}
        assert {row.node_id for row in NodeAnswer.objects.all()} == {LiveNode.objects.get().id}


@virtual_time
async def test_each_node_answers_for_itself() -> None:
    async with running() as one, running() as other:
        request = NodeRequest.objects.create(kind="sessions")
        one.answers.look()
        other.answers.look()
        await asyncio.sleep(MOMENT_SECS)
        assert NodeAnswer.objects.filter(request_id=request.id).count() == 2


@virtual_time
async def test_more_requests_than_one_look_takes_are_all_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUESTS_MAX", 2)
    async with running() as rig:
        NodeRequest.objects.bulk_create([NodeRequest(kind="sessions") for _ in range(5)])
        await rig.ask()
        assert NodeAnswer.objects.count() == 6


@virtual_time
async def test_it_answers_one_request_in_a_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    answer = Answers._answer

    def answer_and_note(*args: Any) -> Any:
        log.append("answer")
        asyncio.get_running_loop().call_soon(log.append, "others")
        return answer(*args)

    monkeypatch.setattr(Answers, "_answer", answer_and_note)
    async with running() as rig:
        NodeRequest.objects.bulk_create([NodeRequest(kind="sessions") for _ in range(2)])
        await rig.ask()
    assert log == ["answer", "others"] * 3


@virtual_time
async def test_it_looks_by_itself_every_30_s_and_each_second_without_a_broker() -> None:
    async with running() as rig:
        NodeRequest.objects.create(kind="kick", sid="0" * 16)
        await asyncio.sleep(SEEN_EVERY_SECS - 1)
        assert not NodeAnswer.objects.exists()
        await asyncio.sleep(1)
        assert NodeAnswer.objects.count() == 1
        rig.alone = True
        rig.answers.look()  # it would notice with its next look
        await asyncio.sleep(MOMENT_SECS)
        NodeRequest.objects.create(kind="kick", sid="0" * 16)
        await asyncio.sleep(LOOK_ALONE_SECS)
        assert NodeAnswer.objects.count() == 2


@virtual_time
async def test_an_outage_is_told_once_and_outlived(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with running() as rig:
        tab = rig.socket()
        rig.database.away = True
        NodeRequest.objects.create(kind="kick", sid=tab.session.sid)
        for _ in range(3):
            rig.answers.look()
            await asyncio.sleep(MOMENT_SECS)
        assert not tab.revoked
        assert len(caplog.records) == 1
        rig.database.away = False
        await asyncio.sleep(SEEN_EVERY_SECS + MOMENT_SECS)
        assert tab.revoked


async def test_the_broker_s_word_reaches_it_and_so_does_its_absence(make_node: MakeNode) -> None:
    node = make_node()
    assert not node.answers._asked.is_set()
    node._control(Asked().event("m1"))
    assert node.answers._asked.is_set()
    node.answers._asked.clear()
    node._control(None)
    assert node.answers._asked.is_set()
    node.answers._asked.clear()
    # Of a later release.
    node._control(Event(CONTROL, "LATER", '{"data": null}', 14))
    assert not node.answers._asked.is_set()
