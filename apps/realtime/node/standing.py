"""Whether the open sockets of a node may stay open: their sign-ins and users are looked up again (docs/tokens.md).

At once for a user of whom the broker says that something changed, and again and again for everybody: the rows are the
truth, and the broker only hurries.
"""

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Protocol

from ..core.control import Change
from ..core.names import topic_stream
from ..core.parts import parts
from ..core.session import Identity
from . import identity
from .database import Database, Outage
from .identity import Ending
from .rights import TopicRights

logger = logging.getLogger(__name__)

# After a check that the database did not answer.
RETRY_SECS: Final = 2.0
# A session that changed its user's password says so with its answer, a moment after the password is committed.
GRACE_SECS: Final = 1.0
# Identities that one question holds: two queries.
BATCH_IDENTITIES: Final = 500
# Longer than any socket takes from its question to being listed here: database and broker have their deadlines.
REMEMBER_SECS: Final = 120.0


class Guest(Protocol):
    """An authenticated socket."""

    @property
    def identity(self) -> Identity | None:
        """Who it speaks for by its last token."""

    def revoke(self) -> None:
        """Its sign-in has ended: close it."""


class Standing:
    """The sign-ins of the sockets of one event loop."""

    def __init__(self, database: Database, rights: TopicRights, *, check_every_secs: float) -> None:
        self._check_every_secs = check_every_secs
        self._database = database
        self._rights = rights
        self._guests: dict[str, set[Guest]] = {}
        # When a change was told, by user, oldest first; None: everybody's.
        self._changed: dict[str | None, float] = {}
        # Whose sockets are to be looked up now.
        self._due: set[str] = set()
        self._someone_due = asyncio.Event()
        self._everyone_due = asyncio.Event()
        # Whose password is another one, and when that was seen first.
        self._doubts: dict[Identity, float] = {}
        self._outage = Outage(logger, "Sign-ins cannot be looked up")
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._tasks = [asyncio.create_task(self._run_for_some()), asyncio.create_task(self._run_for_all())]

    async def close(self) -> None:
        """Look up no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, user_id: str, guest: Guest) -> None:
        """A socket has authenticated as this user."""
        self._guests.setdefault(user_id, set()).add(guest)

    def leave(self, user_id: str, guest: Guest) -> None:
        """It is gone."""
        guests = self._guests[user_id]
        guests.discard(guest)
        if not guests:
            del self._guests[user_id]

    def changed(self, change: Change) -> None:
        """One of the site's processes says so."""
        now = asyncio.get_running_loop().time()
        self._note(change.user_id, now)
        if change.topic is not None and change.user_id is not None:
            self._rights.revoke(change.user_id, topic_stream(change.topic))
            return
        self._rights.look_again(change.user_id)
        if change.user_id in self._guests:
            self._due.add(change.user_id)
            self._someone_due.set()

    def missed(self) -> None:
        """Changes may have been told while nobody here could hear them."""
        self._rights.look_again()
        self._everyone_due.set()

    def changed_since(self, user_id: str, mono: float) -> bool:
        """Whether an answer about this user may be out of date whose question began at `mono`."""
        return any(self._changed.get(key, float("-inf")) >= mono for key in (user_id, None))

    def ended_since(self, user_id: str, mono: float) -> bool:
        """The same of an answer about the user's sign-in, which what concerns everybody's rights says nothing about."""
        return self._changed.get(user_id, float("-inf")) >= mono

    def _note(self, user_id: str | None, now: float) -> None:
        self._changed.pop(user_id, None)
        self._changed[user_id] = now
        while (oldest := next(iter(self._changed))) != user_id and self._changed[oldest] < now - REMEMBER_SECS:
            del self._changed[oldest]

    async def _run_for_some(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            ripe_at = min(self._doubts.values(), default=float("inf")) + GRACE_SECS
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if ripe_at == float("inf") else ripe_at):
                    await self._someone_due.wait()
            self._someone_due.clear()
            due, self._due = self._due, set()
            now = loop.time()
            ripe = [who for who, since in self._doubts.items() if now >= since + GRACE_SECS]
            due |= {who.user_id for who in ripe}
            if await self._check(self._identities(due)):
                for who in ripe:  # of a socket that has gone by itself
                    self._doubts.pop(who, None)
            else:
                await asyncio.sleep(RETRY_SECS)
                self._due |= due
                self._someone_due.set()

    async def _run_for_all(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECS if self._outage.lasts else self._check_every_secs):
                    await self._everyone_due.wait()
            self._everyone_due.clear()
            await self._check(self._identities(self._guests))

    def _identities(self, user_ids: Collection[str]) -> list[Identity]:
        found = {guest.identity: None for user_id in user_ids for guest in self._guests.get(user_id, ())}
        return [who for who in found if who is not None]

    async def _check(self, identities: list[Identity]) -> bool:
        """Look them up, and close the sockets of those whose sign-in has ended; False without an answer."""
        for batch in parts(identities, BATCH_IDENTITIES):
            asked_at = asyncio.get_running_loop().time()
            try:
                endings = await self._database.ask(identity.endings, batch)
            except Exception as error:
                self._outage.goes_on(error)
                return False
            self._outage.is_over()
            for who in batch:
                self._decide(who, endings.get(who), asked_at)
        return True

    def _decide(self, who: Identity, ending: Ending | None, asked_at: float) -> None:
        if ending is Ending.PASSWORD and asked_at < self._doubts.setdefault(who, asked_at) + GRACE_SECS:
            self._someone_due.set()
            return
        self._doubts.pop(who, None)
        if ending is not None:
            for guest in list(self._guests.get(who.user_id, ())):
                # Not one that has shown a newer token meanwhile.
                if guest.identity == who:
                    guest.revoke()
