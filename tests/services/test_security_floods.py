"""Too many sockets, from one address or of one user, while others are served (docs/security.md, docs/limits.md)."""

import asyncio
import json
from collections import Counter
from itertools import count
from typing import Final

import pytest

from ops.services import wait_for
from tests.services.rigs.clients import Dialect, Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import Node
from tests.services.rigs.target import Target, metrics, resident_mib
from tests.services.rigs.wire import PING, Wire, frame, upgrade_headers

pytest_plugins = ["tests.services.rigs.attacked"]

TOO_SLOW, AUTH_TIMEOUT, RATE_LIMITED, TOO_MANY = 4002, 4003, 4008, 4504

SILENT_SOCKETS: Final = 1_000
# TEST-NET-2 (RFC 5737); each test comes from addresses of its own.
_ADDRESSES: Final = (f"198.51.100.{number}" for number in count(1))


def address() -> dict[str, str]:
    """What nginx says of the next client."""
    return {"X-Forwarded-For": next(_ADDRESSES)}


def forwarded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """The same for a raw handshake."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def refusal(node: Node, headers: dict[str, str], dialect: Dialect) -> tuple[int, list[str]]:
    """The close code of a socket that is not let in, and the codes of the ERROR frames before it."""
    tab = await Tab.connect(node.websocket, dialect=dialect, headers=headers)
    code = await tab.wait_closed()
    await tab.close()
    return code, [control["data"]["code"] for control in tab.control if control["id"] == "ERROR"]


@pytest.mark.alone
async def test_a_thousand_silent_sockets_leave_and_an_honest_user_is_served_meanwhile(
    target: Target, hurried: Node, alice: Person
) -> None:
    before = resident_mib(hurried)
    headers = upgrade_headers(hurried.port) + forwarded(address())
    places = asyncio.Semaphore(50)

    async def silent() -> Wire:
        async with places:
            return await Wire.open(hurried.port, headers)

    wires = await asyncio.gather(*(silent() for _ in range(SILENT_SOCKETS)))
    endings = asyncio.gather(*(wire.ending(deadline_secs=30) for wire in wires))
    # 25 MiB were measured, 25 KiB a socket.
    grown = resident_mib(hurried) - before
    assert grown < 80
    await target.assert_healthy(hurried, target.token(alice))
    assert Counter(ending.code for ending in await endings) == {AUTH_TIMEOUT: SILENT_SOCKETS}
    for wire in wires:
        wire.close()
    wait_for(lambda: sum(metrics(hurried, "realtime_sessions").values()) == 0, 10, "every socket is forgotten")
    await target.assert_healthy(hurried, target.token(alice))


@pytest.mark.parametrize("dialect", ["seed", "v1"])
async def test_one_address_has_so_many_sockets_and_opens_so_many_a_second(
    target: Target, narrow: Node, alice: Person, dialect: Dialect
) -> None:
    crowd = address()
    told = {"v1": ["too_many_connections"], "seed": []}[dialect]
    tabs = [await Tab.connect(narrow.websocket, headers=crowd) for _ in range(5)]
    assert await refusal(narrow, crowd, dialect) == (TOO_MANY, told)
    # Whoever leaves makes room.
    await tabs.pop().close()
    wait_for(
        lambda: metrics(narrow, "realtime_sessions")['dialect="v1"'] == len(tabs), 10, "the closed socket is forgotten"
    )
    tabs.append(await Tab.connect(narrow.websocket, headers=crowd))

    refusals = await asyncio.gather(*(refusal(narrow, crowd, dialect) for _ in range(12)))
    codes = Counter(code for code, _ in refusals)
    assert codes.keys() <= {TOO_MANY, RATE_LIMITED}
    assert codes[RATE_LIMITED] > 0
    assert ["rate_limited"] * (dialect == "v1") in [told for code, told in refusals if code == RATE_LIMITED]

    # Another address is another office.
    tab = await Tab.open(narrow.websocket, target.token(alice), headers=address())
    for each in (tab, *tabs):
        await each.close()


@pytest.mark.parametrize("dialect", ["seed", "v1"])
async def test_one_user_has_so_many_tabs(target: Target, hurried: Node, dialect: Dialect) -> None:
    token = target.token(target.person(hurried, f"hoarder-{dialect}"))
    tabs = [await Tab.open(hurried.websocket, token, dialect=dialect, headers=address()) for _ in range(3)]
    one_more = await Tab.connect(hurried.websocket, token, dialect=dialect, headers=address())
    assert await one_more.wait_closed() == TOO_MANY
    ids = [control["id"] for control in one_more.control]
    assert ids == (["AUTH REQUEST", "ERROR"] if dialect == "v1" else ["AUTH REQUEST"])
    # The tabs that are open stay open, and one that goes makes room.
    await tabs.pop().close()
    sessions = f'dialect="{dialect}"'
    wait_for(lambda: metrics(hurried, "realtime_sessions")[sessions] == 2, 10, "the closed tab is forgotten")
    tabs.append(await Tab.open(hurried.websocket, token, dialect=dialect, headers=address()))
    for tab in tabs:
        assert tab.close_code is None
        await tab.close()


async def test_who_pings_and_never_reads_is_cut_off(target: Target, victim: Node, alice: Person) -> None:
    """Daphne answers pings itself and keeps the answers for a peer that does not take them."""
    before = resident_mib(victim)
    ended = metrics(victim, "realtime_closes_total").get('code="4002"', 0)
    wire = await Wire.open(victim.port, upgrade_headers(victim.port) + forwarded(address()))
    await wire.send(frame(json.dumps({"id": "AUTH", "data": {"token": target.token(alice)}}).encode()))
    wire.stop_reading()
    pings = frame(b"x" * 125, PING) * 1_000
    async with asyncio.timeout(20):
        while not wire.is_lost:
            await wire.send(pings)
    wire.close()
    # 5 MiB were measured; it grew by 4 MiB a second before, without end.
    grown = resident_mib(victim) - before
    assert grown < 32
    assert metrics(victim, "realtime_closes_total")['code="4002"'] == ended + 1
    await target.assert_healthy(victim, target.token(alice))
