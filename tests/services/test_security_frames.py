"""What a client may write on a socket, and what becomes of everything else (docs/security.md, docs/protocol.md)."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.services.rigs.clients import Dialect, Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import Node
from tests.services.rigs.target import Target, resident_mib
from tests.services.rigs.wire import (
    ABNORMAL,
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Ending,
    Wire,
    frame,
    upgrade_headers,
)

pytest_plugins = ["tests.services.rigs.attacked"]
pytestmark = pytest.mark.usefixtures("healthy_afterwards")

PROTOCOL_VIOLATION = 4502
FRAME_MAX_BYTES: Final = 16 * 1024
# RFC 6455, 7.4.1: protocol error, no UTF-8, too big; or cut off without a word.
ENDED_BY_THE_SERVER: Final = {1002, 1007, 1009, ABNORMAL}

DIALECTS: Final = ("seed", "v1")
both_dialects = pytest.mark.parametrize("dialect", DIALECTS)


async def open_wire(node: Node, dialect: Dialect = "v1") -> Wire:
    """A socket that was asked to authenticate."""
    wire = await Wire.open(node.port, upgrade_headers(node.port, v1=dialect == "v1"))
    assert json.loads(await wire.text())["id"] == "AUTH REQUEST"
    return wire


def errors_of(ending: Ending) -> list[str]:
    """The codes of the ERROR frames."""
    frames = [json.loads(text) for text in ending.texts]
    return [frame["data"]["code"] for frame in frames if frame["id"] == "ERROR"]


def padded(token: str, size: int) -> str:
    """An AUTH frame of exactly that many bytes."""
    content: dict[str, Any] = {"id": "AUTH", "data": {"token": token, "pad": ""}}
    content["data"]["pad"] = "x" * (size - len(json.dumps(content)))
    return json.dumps(content)


# Size, kind and number ----------------------------------------------------------------------------


async def test_a_frame_holds_16_kib(target: Target, victim: Node, alice: Person) -> None:
    tab = await Tab.connect(victim.websocket)
    await tab.send(padded(target.token(alice), FRAME_MAX_BYTES))
    await tab.wait_for_control("AUTH OK")
    await tab.close()

    tab = await Tab.connect(victim.websocket, dialect="seed")
    await tab.send("x" * FRAME_MAX_BYTES)
    await tab.wait_for_control("AUTH FAILED")
    await tab.close()


@both_dialects
@pytest.mark.parametrize("text", ["x" * (FRAME_MAX_BYTES + 1), "\u00e9" * (FRAME_MAX_BYTES // 2 + 1)], ids=["x", "é"])
async def test_a_byte_more_ends_the_socket(victim: Node, dialect: Dialect, text: str) -> None:
    async with await open_wire(victim, dialect) as wire:
        await wire.send(frame(text.encode()))
        ending = await wire.ending()
    assert ending.code == PROTOCOL_VIOLATION
    assert errors_of(ending) == (["frame_too_large"] if dialect == "v1" else [])


async def test_a_byte_more_ends_an_authenticated_socket_too(target: Target, victim: Node, alice: Person) -> None:
    tab = await Tab.open(victim.websocket, target.token(alice))
    await tab.send(padded("", FRAME_MAX_BYTES + 1))
    assert await tab.wait_closed() == PROTOCOL_VIOLATION


@both_dialects
@pytest.mark.parametrize("payload", [b"", b"<3", b"\xff" * 100], ids=["empty", "heartbeat", "bytes"])
async def test_a_binary_frame_ends_the_socket(victim: Node, dialect: Dialect, payload: bytes) -> None:
    async with await open_wire(victim, dialect) as wire:
        await wire.send(frame(payload, BINARY))
        ending = await wire.ending()
    assert ending.code == PROTOCOL_VIOLATION
    assert errors_of(ending) == (["binary_frame"] if dialect == "v1" else [])


JUNK: Final = {
    "no object": "[]",
    "a number": "1",
    "no id": '{"data": {}}',
    "id is no text": '{"id": {"id": "AUTH"}}',
    "an unknown id": '{"id": "PUBLISH", "data": {"to": "all"}}',
    "an application's event": '{"id": "comment/ADDED", "data": {}}',
    "a frame of the server's": '{"id": "AUTH OK", "data": {"user": "1"}}',
    "data is no object": '{"id": "AUTH", "data": [1]}',
    "no token": '{"id": "AUTH"}',
    "token is no text": '{"id": "AUTH", "data": {"token": {"alg": "none"}}}',
    "topics is no list": '{"id": "AUTH", "data": {"token": "x", "topics": "article-1"}}',
    "topics holds no texts": '{"id": "AUTH", "data": {"token": "x", "topics": [[]]}}',
    "too many topics": json.dumps({"id": "AUTH", "data": {"token": "x", "topics": [str(n) for n in range(101)]}}),
    "ref is an object": '{"id": "SUBSCRIBE", "data": {"topic": "x", "ref": {}}}',
    "ref without end": json.dumps({"id": "SUBSCRIBE", "data": {"topic": "x", "ref": "x" * 1000}}),
    "deep": "[" * 8_000 + "]" * 8_000,
}


@pytest.mark.parametrize("text", JUNK.values(), ids=JUNK)
async def test_junk_is_told_to_v1_and_ends_seed(victim: Node, text: str) -> None:
    async with await open_wire(victim) as wire:
        await wire.send(frame(text.encode()))
        error = json.loads(await wire.text())
        assert (error["id"], error["data"]["code"]) == ("ERROR", "bad_frame")
    async with await open_wire(victim, "seed") as wire:
        await wire.send(frame(text.encode()))
        assert await wire.ending() == Ending([], PROTOCOL_VIOLATION)


async def test_a_hundred_junk_frames_are_told_and_the_next_ends_the_socket(victim: Node) -> None:
    async with await open_wire(victim) as wire:
        # A hundred a minute, and what a slow machine has refilled meanwhile.
        await wire.send(frame(b"[]") * 150)
        ending = await wire.ending()
    assert ending.code == PROTOCOL_VIOLATION
    *told, last = errors_of(ending)
    assert set(told) == {"bad_frame"}
    assert 100 <= len(told) < 150
    assert last == "rate_limited"


async def test_heartbeats_and_acks_have_no_such_limit(target: Target, victim: Node, alice: Person) -> None:
    async with await Wire.open(victim.port) as wire:
        await wire.send(frame(json.dumps({"id": "AUTH", "data": {"token": target.token(alice)}}).encode()))
        await wire.send((frame(b"<3") + frame(b'{"id": "ACK", "data": {"n": 0}}')) * 500)
        await wire.send(frame(b'{"id": "SUBSCRIBE", "data": {"topic": "none", "ref": "last"}}'))
        while json.loads(await wire.text())["id"] != "SUBSCRIBED":
            pass


# Below the protocol: Daphne's and autobahn's business ------------------------------------------------

BROKEN: Final[dict[str, Callable[[], bytes]]] = {
    "1 MiB and a byte": lambda: frame(b"x" * (2**20 + 1)),
    "no UTF-8": lambda: frame(b"\xff\xfe"),
    "a lone surrogate": lambda: frame(b"\xed\xa0\x80"),
    "no mask": lambda: frame(b"<3", masked=False),
    "a reserved opcode": lambda: frame(b"<3", 0x3),
    "a reserved bit": lambda: bytes([0xC1]) + frame(b"<3")[1:],
    "2^40 bytes announced": lambda: b"\x81\xff" + (2**40).to_bytes(8, "big") + b"\0\0\0\0",
    "2^63 bytes announced": lambda: b"\x81\xff" + (2**63).to_bytes(8, "big") + b"\0\0\0\0",
    "a ping of 126 bytes": lambda: frame(b"x" * 126, PING),
    "a ping in fragments": lambda: frame(b"x", PING, final=False),
    "a continuation of nothing": lambda: frame(b"x", CONTINUATION),
    "a message in a message": lambda: frame(b"x", TEXT, final=False) + frame(b"x"),
    "a close code that is none": lambda: frame((999).to_bytes(2, "big"), CLOSE),
    "over 1 MiB in fragments": lambda: (
        frame(b"x" * 1024, TEXT, final=False) + frame(b"x" * 1024, CONTINUATION, final=False) * 1024
    ),
}


@pytest.mark.parametrize("attack", BROKEN.values(), ids=BROKEN)
async def test_a_broken_frame_ends_the_socket(victim: Node, attack: Callable[[], bytes]) -> None:
    async with await open_wire(victim) as wire:
        await wire.send(attack())
        ending = await wire.ending()
    assert ending.code in ENDED_BY_THE_SERVER
    assert not ending.texts


async def test_ten_thousand_fragments_are_one_frame_over_the_limit(victim: Node) -> None:
    before = resident_mib(victim)
    async with await open_wire(victim) as wire:
        await wire.send(frame(b"xx", TEXT, final=False) + frame(b"xx", CONTINUATION, final=False) * 9_999)
        await wire.send(frame(b"", CONTINUATION))
        ending = await wire.ending()
    assert ending.code == PROTOCOL_VIOLATION
    assert errors_of(ending) == ["frame_too_large"]
    # 0 to 1 MiB were measured.
    assert resident_mib(victim) - before < 8


async def test_who_ignores_the_close_frame_is_dropped(victim: Node) -> None:
    async with await open_wire(victim) as wire:
        await wire.send(frame(b"", BINARY))
        assert (await wire.ending(answer=False)).code == PROTOCOL_VIOLATION
