"""Whether open sockets may stay open (docs/tokens.md)."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import OperationalError

from apps.realtime.core.control import Change
from apps.realtime.core.names import topic_stream
from apps.realtime.core.session import Identity
from apps.realtime.node.identity import Ending
from apps.realtime.node.standing import (
    BATCH_IDENTITIES,
    GRACE_SECS,
    REMEMBER_SECS,
    RETRY_SECS,
    Standing,
)

from .virtual_time import virtual_time

ASK_SECS = 0.01
# As a site has it that sets nothing.
CHECK_EVERY_SECS = 30.0


def who(user_id: str = "7", mark: str = "m", expires_at: float = 0.0) -> Identity:
    return Identity(user_id, f"user-{user_id}", expires_at, mark, "p")


class Socket:
    """Notes that it was closed."""

    def __init__(self, standing: Standing, identity: Identity) -> None:
        self.identity: Identity | None = identity
        self.closed_at: float | None = None
        self._standing = standing
        standing.join(identity.user_id, self)

    def revoke(self) -> None:
        assert self.closed_at is None
        self.closed_at = asyncio.get_running_loop().time()
        self.leave()

    def leave(self) -> None:
        assert self.identity is not None
        self._standing.leave(self.identity.user_id, self)


class Rights:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def revoke(self, user_id: str, stream: str) -> None:
        self.told.append((user_id, stream))

    def look_again(self, user_id: str | None = None) -> None:
        self.told.append(user_id)


class Rig:
    """A node's list of sockets over a database without a database.

    Attributes:
        endings: what the database says.
        asked: the identities of each question.
        error: raised instead of an answer.
    """

    def __init__(self) -> None:
        self.endings: dict[Identity, Ending] = {}
        self.asked: list[list[Identity]] = []
        self.error: Exception | None = None
        self.rights = Rights()
        self.standing = Standing(self, self.rights, check_every_secs=CHECK_EVERY_SECS)  # type: ignore[arg-type]

    async def ask(self, function: Any, identities: Collection[Identity]) -> dict[Identity, Ending]:
        self.asked.append(list(identities))
        found = {one: self.endings[one] for one in identities if one in self.endings}
        await asyncio.sleep(ASK_SECS)
        if self.error is not None:
            raise self.error
        return found

    def socket(self, identity: Identity) -> Socket:
        return Socket(self.standing, identity)


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    """A rig that looks things up."""
    rig = Rig()
    rig.standing.start()
    yield rig
    await rig.standing.close()


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_a_change_closes_the_sockets_of_the_sign_in_that_ended_at_once_and_no_other() -> None:
    async with running() as rig:
        ended, other = who(mark="ended"), who(mark="other")
        tabs = [rig.socket(ended), rig.socket(ended), rig.socket(other)]
        bob = rig.socket(who("8"))
        rig.endings[ended] = Ending.SIGN_IN
        began = now()
        rig.standing.changed(Change("7"))
        await asyncio.sleep(1)
        assert [tab.closed_at for tab in tabs] == [pytest.approx(began + ASK_SECS)] * 2 + [None]
        # Bob is nobody's business.
        assert bob.closed_at is None
        assert [set(asked) for asked in rig.asked] == [{ended, other}]


@virtual_time
async def test_a_change_of_somebody_who_is_not_here_costs_nothing() -> None:
    async with running() as rig:
        rig.socket(who("8"))
        rig.standing.changed(Change("7"))
        await asyncio.sleep(1)
        assert rig.asked == []


@virtual_time
async def test_everybody_is_looked_up_again_and_again() -> None:
    """Whatever was not told: the socket is closed within 35 s."""
    async with running() as rig:
        alice, bob = rig.socket(who()), rig.socket(who("8"))
        began = now()
        rig.endings[who()] = Ending.SIGN_IN
        await asyncio.sleep(35)
        assert alice.closed_at == pytest.approx(began + CHECK_EVERY_SECS, abs=1)
        rig.endings[who("8")] = Ending.PASSWORD
        await asyncio.sleep(35)
        assert bob.closed_at == pytest.approx(began + 2 * CHECK_EVERY_SECS + GRACE_SECS, abs=1)


@virtual_time
async def test_when_changes_may_have_been_missed_everybody_is_looked_up_at_once() -> None:
    async with running() as rig:
        alice = rig.socket(who())
        rig.endings[who()] = Ending.SIGN_IN
        rig.standing.missed()
        await asyncio.sleep(1)
        assert alice.closed_at is not None
        assert rig.rights.told == [None]


@virtual_time
async def test_ten_thousand_sockets_are_twenty_questions() -> None:
    async with running() as rig:
        for number in range(20 * BATCH_IDENTITIES):
            rig.socket(who(str(number)))
        rig.standing.missed()
        await asyncio.sleep(1)
        assert [len(asked) for asked in rig.asked] == [BATCH_IDENTITIES] * 20


@virtual_time
async def test_a_session_that_changed_the_password_has_a_second_to_say_so() -> None:
    async with running() as rig:
        own, other = who(mark="own"), who(mark="other")
        tabs = rig.socket(own), rig.socket(other)
        rig.endings |= {own: Ending.PASSWORD, other: Ending.PASSWORD}
        began = now()
        rig.standing.changed(Change("7"))
        await asyncio.sleep(GRACE_SECS / 2)
        del rig.endings[own]
        await asyncio.sleep(2)
        assert tabs[0].closed_at is None
        assert tabs[1].closed_at == pytest.approx(began + GRACE_SECS, abs=0.1)
        # The next change finds no old doubt.
        rig.endings[own] = Ending.PASSWORD
        began = now()
        rig.standing.changed(Change("7"))
        await asyncio.sleep(2)
        assert tabs[0].closed_at == pytest.approx(began + GRACE_SECS, abs=0.1)


@virtual_time
async def test_a_socket_that_goes_in_that_second_leaves_no_doubt_behind() -> None:
    async with running() as rig:
        tab = rig.socket(who())
        rig.endings[who()] = Ending.PASSWORD
        rig.standing.changed(Change("7"))
        await asyncio.sleep(GRACE_SECS / 2)
        tab.leave()
        await asyncio.sleep(GRACE_SECS)
        asked = len(rig.asked)
        await asyncio.sleep(CHECK_EVERY_SECS / 2)
        assert len(rig.asked) == asked
        assert rig.standing._doubts == {}


@virtual_time
async def test_a_newer_token_outlives_the_question_about_the_older_one() -> None:
    async with running() as rig:
        tab = rig.socket(who())
        rig.endings[who()] = Ending.SIGN_IN
        rig.standing.changed(Change("7"))
        await asyncio.sleep(ASK_SECS / 2)
        tab.identity = who(mark="newer")
        await asyncio.sleep(1)
        assert tab.closed_at is None


@pytest.mark.parametrize("error", [OperationalError("away"), TimeoutError(), ZeroDivisionError("a defect of ours")])
@virtual_time
async def test_with_the_database_away_sockets_stay_and_it_is_asked_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as rig:
        told, untold = rig.socket(who()), rig.socket(who("8"))
        rig.endings |= {who(): Ending.SIGN_IN, who("8"): Ending.SIGN_IN}
        rig.error = error
        rig.standing.changed(Change("7"))
        await asyncio.sleep(CHECK_EVERY_SECS + 10 * RETRY_SECS)
        assert (told.closed_at, untold.closed_at) == (None, None)
        assert len(caplog.records) == 1
        rig.error = None
        await asyncio.sleep(2 * RETRY_SECS)
        assert told.closed_at is not None
        assert untold.closed_at is not None


@virtual_time
async def test_rights_are_looked_up_with_the_sign_ins() -> None:
    async with running() as rig:
        rig.standing.changed(Change("7"))
        rig.standing.changed(Change("7", "order-1"))
        rig.standing.changed(Change(None))
        assert rig.rights.told == ["7", ("7", topic_stream("order-1")), None]


@virtual_time
async def test_answers_from_before_a_change_are_out_of_date() -> None:
    async with running() as rig:
        standing, began = rig.standing, now()
        assert not standing.changed_since("7", began)
        standing.changed(Change("7", "order-1"))
        assert standing.changed_since("7", began)
        assert not standing.changed_since("8", began)
        await asyncio.sleep(1)
        assert not standing.changed_since("7", now())
        standing.changed(Change(None))
        assert standing.changed_since("8", began + 1)
        assert not standing.changed_since("8", began + 1.5)


@virtual_time
async def test_changes_are_not_remembered_for_ever() -> None:
    async with running() as rig:
        for number in range(100):
            rig.standing.changed(Change(str(number % 50)))
        await asyncio.sleep(REMEMBER_SECS + 1)
        rig.standing.changed(Change("1"))
        assert list(rig.standing._changed) == ["1"]
