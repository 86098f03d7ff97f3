"""What a node answers when somebody asks all nodes, and how they know that it is there (docs/commands.md).

A request is a row, and so is the answer. The broker only says that there is one; a node looks by itself, too.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from secrets import token_hex
from typing import Final, NamedTuple, Protocol

from django.db.models import DurationField, Exists, ExpressionWrapper, F, OuterRef, Q
from django.db.models.functions import Now

from ..conf import realtime_settings
from ..core.live import TOPICS_SHOWN, LiveSession, dumped
from ..core.names import user_stream
from ..core.session import Identity, Instant, Session
from ..core.v1 import V1Session
from ..node_models import ANSWER_WITHIN, SEEN_EVERY_SECS, LiveNode, NodeAnswer, NodeRequest
from .database import Database, Outage

logger = logging.getLogger(__name__)

# While no broker can tell of requests, be it that this site has none.
LOOK_ALONE_SECS: Final = 1.0
# Of one answer: half a MiB. Whoever has more asks for a user's.
SESSIONS_MAX: Final = 500
# What one look answers; the next one follows at once.
REQUESTS_MAX: Final = 50


class Socket(Protocol):
    """An open socket of this node."""

    @property
    def session(self) -> Session:
        """Its machine."""

    @property
    def identity(self) -> Identity | None:
        """Who it speaks for."""

    address: str | None
    connected: Instant

    def revoke(self) -> None:
        """Close it with 4503."""


class Wanted(NamedTuple):
    """A request that this node has not answered; `age_secs` by the database's clock."""

    id: int
    kind: str
    user_id: str | None
    sid: str | None
    age_secs: float


class Answer(NamedTuple):
    """What is written down for one request."""

    request_id: int
    sessions: list[LiveSession]
    total: int
    kicked: int


class Answers:
    """The answers of the node of one event loop.

    Attributes:
        name: what people call the node: host and process id.
    """

    def __init__(
        self,
        database: Database,
        sockets: Collection[Socket],
        *,
        every_secs: float,
        alone: Callable[[], bool],
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._id = token_hex(16)
        self._database = database
        # The node's own collection, which changes.
        self._sockets = sockets
        self._every_secs = min(every_secs, SEEN_EVERY_SECS)
        self._alone = alone
        self._asked = asyncio.Event()
        self._outage = Outage(logger, "Requests to this node")
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Be known to those who ask from now on."""
        self._task = asyncio.create_task(self._run())

    def look(self) -> None:
        """Somebody asks, or may have asked while nobody here could hear it."""
        self._asked.set()

    def leave(self) -> None:
        """Answer no more, and be forgotten; returns at once."""
        if self._task is not None and self._leaving is None:
            self._task.cancel()
            self._leaving = asyncio.create_task(self._leave(self._task))

    async def close(self) -> None:
        """Wait until that is done, for as long as the database may take to answer."""
        self.leave()
        if self._leaving is not None:
            await self._leaving

    async def _leave(self, task: asyncio.Task[None]) -> None:
        await asyncio.gather(task, return_exceptions=True)
        # Else whoever asks is told that the node has been silent for some time.
        with suppress(Exception):
            await self._database.ask(_forget, self._id)

    async def _run(self) -> None:
        seen_at = float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            self._asked.clear()
            now = loop.time()
            try:
                if now >= seen_at + SEEN_EVERY_SECS:
                    await self._database.ask(_show, self._id, self.name)
                    seen_at = now
                wanted = await self._database.ask(_wanted, self._id)
                if wanted:
                    # A moment too late rather than too early: what connected meanwhile may be closed, too.
                    looked_at = loop.time()
                    answers = []
                    for request in wanted:
                        answers.append(self._answer(request, looked_at - request.age_secs))
                        # Each goes through all sockets: what these have to do comes in between.
                        await asyncio.sleep(0)
                    await self._database.ask(_write_down, self._id, answers)
                self._outage.is_over()
            except Exception as error:
                self._outage.goes_on(error)
                wanted = []
            if len(wanted) < REQUESTS_MAX:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_ALONE_SECS if self._alone() else self._every_secs):
                        await self._asked.wait()

    def _answer(self, request: Wanted, asked_at: float) -> Answer:
        found = [one for one in self._sockets if _is_meant(one, request)]
        if request.kind == NodeRequest.Kind.KICK:
            kicked = [one for one in found if one.connected.mono <= asked_at]
            for one in kicked:
                one.revoke()
            logger.info("Request %d: %d sockets were kicked", request.id, len(kicked))
            return Answer(request.id, [], len(found), len(kicked))
        found.sort(key=lambda one: one.connected.mono, reverse=True)
        return Answer(request.id, [_shown(self.name, one) for one in found[:SESSIONS_MAX]], len(found), 0)


def _is_meant(one: Socket, request: Wanted) -> bool:
    if request.sid is not None:
        return one.session.sid == request.sid
    if request.user_id is not None:
        return one.identity is not None and one.identity.user_id == request.user_id
    # A kick of nobody in particular is a mistake.
    return request.kind == NodeRequest.Kind.SESSIONS


def _shown(node: str, one: Socket) -> LiveSession:
    session, who = one.session, one.identity
    position = None if who is None else session.position(user_stream(who.user_id))
    return LiveSession(
        node=node,
        sid=session.sid,
        user_id=None if who is None else who.user_id,
        username="" if who is None else who.username,
        dialect="v1" if isinstance(session, V1Session) else "seed",
        since=one.connected.wall,
        topics=session.topics[:TOPICS_SHOWN],
        more_topics=max(0, len(session.topics) - TOPICS_SHOWN),
        position=None if position is None else position.seq,
        unacked=session.unacked,
        address=one.address,
    )


# In a thread --------------------------------------------------------------------------------------


def _show(node_id: str, name: str) -> None:
    nodes = LiveNode.objects.using(realtime_settings().database)
    # The row of a node that could not reach the database for long has been taken away.
    if not nodes.filter(id=node_id).update(seen_at=Now()):
        nodes.bulk_create([LiveNode(id=node_id, name=name)], ignore_conflicts=True)


def _forget(node_id: str) -> None:
    LiveNode.objects.using(realtime_settings().database).filter(id=node_id).delete()


def _wanted(node_id: str) -> list[Wanted]:
    requests = NodeRequest.objects.using(realtime_settings().database)
    answered = NodeAnswer.objects.filter(request_id=OuterRef("id"), node_id=node_id)
    # Whoever asked for a list has gone by then. A kick counts for what was open at the time.
    late = Q(kind=NodeRequest.Kind.SESSIONS, created_at__lt=Now() - ANSWER_WITHIN)
    age = ExpressionWrapper(Now() - F("created_at"), DurationField())
    rows = requests.filter(~Exists(answered)).exclude(late).annotate(age=age).order_by("id")
    found = rows.values_list("id", "kind", "user_id", "sid", "age")[:REQUESTS_MAX]
    return [Wanted(id, kind, user_id, sid, age.total_seconds()) for id, kind, user_id, sid, age in found]


def _write_down(node_id: str, answers: list[Answer]) -> None:
    rows = [
        NodeAnswer(request_id=id, node_id=node_id, sessions=dumped(sessions), total=total, kicked=kicked)
        for id, sessions, total, kicked in answers
    ]
    NodeAnswer.objects.using(realtime_settings().database).bulk_create(rows, ignore_conflicts=True)
