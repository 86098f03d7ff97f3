"""One Daphne process: its listener, its hub and its limits (docs/node.md)."""

import asyncio
import logging
import random
from typing import Any, Final

from .. import metrics
from ..brokers.base import Listener
from ..brokers.choice import make_listener
from ..brokers.memory import Exchange
from ..conf import RealtimeSettings
from ..core.control import Asked, message_of
from ..core.events import Event
from ..core.names import Stream
from ..core.resume import Cursor
from ..core.session import SessionConfig
from ..rotation import rotate_regressed
from ..topics import TopicRegistry
from .acknowledgements import Acknowledgements
from .answers import Answers
from .authentication import Authentication
from .consumer import RealtimeConsumer
from .database import Database, DatabaseThreads
from .history import HistoryReader
from .hub import Hub
from .limits import Limits
from .loop_lag import LoopLag
from .rights import TopicRights
from .standing import Standing
from .writer import TurnEnd

logger = logging.getLogger(__name__)

# protocol.md, section 2: nginx cuts a silent socket at 60 s; 45 s plus up to 8 s stays below it and spreads the load.
HEARTBEAT_JITTER_SECS: Final = 8.0
# Daphne answers pings by itself: a peer that pings and never reads is found by looking only. 4 MiB a second were seen
# to pile up for one.
SLOW_READERS_EVERY_SECS: Final = 1.0
# A millisecond of work; events are delivered in between.
CONSUMERS_A_LOOK: Final = 500


class Node:
    """Everything that the sockets of one process share. It belongs to one event loop.

    Attributes:
        consumers: the open sockets that were not refused.
        database: where its sockets ask the database.
        authentication: whom their tokens speak for.
        rights: which topics they may hear.
        standing: whether they may stay open.
        answers: what it says to who asks all nodes; to be started by who runs it for a site.
        turn_end: writes what its sockets are sent.
    """

    def __init__(
        self, conf: RealtimeSettings, exchange: Exchange, topics: TopicRegistry, database: Database | None = None
    ) -> None:
        self.conf = conf
        self.topics = topics
        self.limits = Limits(
            per_user=conf.max_sockets_per_user,
            per_address=conf.max_sockets_per_address,
            connects_per_address_per_sec=conf.connects_per_address_per_sec,
        )
        self.session_config = SessionConfig(
            auth_timeout_secs=conf.auth_timeout_secs,
            heartbeat_secs=conf.heartbeat_secs,
            heartbeat_jitter_secs=lambda: random.uniform(0, HEARTBEAT_JITTER_SECS),  # noqa: S311 - spreads load
            max_topics=conf.max_topics_per_socket,
            tells_acknowledged=conf.unseen_after_secs is not None,
        )
        self.consumers: set[RealtimeConsumer] = set()
        self.database = database or DatabaseThreads()
        self.authentication = Authentication(self.database)
        self.rights = TopicRights(self.database, topics)
        self.standing = Standing(self.database, self.rights, check_every_secs=conf.sign_in_check_secs)
        # None where nobody wants to know what was acknowledged.
        self._acknowledgements: Acknowledgements | None = None
        if conf.acknowledged_every_secs is not None:
            self._acknowledgements = Acknowledgements(self.database, write_every_secs=conf.acknowledged_every_secs)
            self._acknowledgements.start()
        self.draining = False
        self.turn_end = TurnEnd()
        self._listener: Listener = make_listener(conf, exchange)
        self.answers = Answers(
            self.database,
            self.consumers,
            every_secs=conf.sign_in_check_secs,
            # The in-process broker hears of other processes only where they share a socket with it.
            alone=lambda: not conf.amqp_urls or self.listener_problem is not None,
        )
        self._reader = HistoryReader(self.database, replay_max=conf.replay_max)
        self.hub = Hub(
            self._listener,
            self._reader,
            self._end_numbering,
            self.rights.confirm,
            self._control,
            replay_max=conf.replay_max,
            head_check_secs=conf.head_check_secs,
        )
        self.hub.start()
        self.rights.start()
        self.standing.start()
        self._sweep: asyncio.TimerHandle
        self._end_slow_readers()
        self._loop_lag = LoopLag()
        self._loop_lag.start()

    @property
    def listener_problem(self) -> str | None:
        """Why events do not reach this node now; None when they do."""
        return self._listener.problem

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket until it ends."""
        await RealtimeConsumer(self)(scope, receive, send)

    def acknowledged(self, stream: Stream, cursor: Cursor) -> None:
        """A tab has everything of its user's stream up to here."""
        if self._acknowledgements is not None:
            self._acknowledgements.note(stream, cursor)

    async def drain(self, within_secs: float) -> None:
        """Send every client away, spread over half of the time, and wait until they are gone or time is up."""
        self.draining = True
        self.answers.leave()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_secs
        for consumer in list(self.consumers):
            consumer.send_away(after_ms=random.randint(0, int(within_secs * 500)))  # noqa: S311 - spreads load
        while self.consumers and loop.time() < deadline:
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Stop listening."""
        self._sweep.cancel()
        self._loop_lag.close()
        await self.hub.close()
        self._reader.close()
        await self.rights.close()
        await self.standing.close()
        await self.answers.close()
        if self._acknowledgements is not None:
            await self._acknowledgements.close()
        self.database.close()

    def _control(self, event: Event | None) -> None:
        if event is None:
            self.standing.missed()
            self.answers.look()
            return
        message = message_of(event)
        if isinstance(message, Asked):
            self.answers.look()
        elif message is not None:
            self.standing.changed(message)

    async def _end_numbering(self, stream: Stream, at: Cursor) -> None:
        if await self.database.ask(rotate_regressed, stream, at.epoch, at.seq):
            logger.error(
                "The database has forgotten events of %s that were delivered: its numbering begins anew", stream
            )

    def _end_slow_readers(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(SLOW_READERS_EVERY_SECS, self._end_slow_readers)
        self._look_at(list(self.consumers))

    def _look_at(self, consumers: list[RealtimeConsumer], unacked: int = 0) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for consumer in consumers[-CONSUMERS_A_LOOK:]:
            consumer.end_if_behind(now)
            unacked += consumer.session.unacked or 0
        del consumers[-CONSUMERS_A_LOOK:]
        if consumers:
            loop.call_soon(self._look_at, consumers, unacked)
        else:
            metrics.UNACKED.set(unacked)
