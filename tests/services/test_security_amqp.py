"""What other programs may put on the exchange, and what never gets to a browser (docs/security.md)."""

import datetime
import json
import time
from typing import Any, Final

import pytest
from pika import BasicProperties

from apps.realtime.core.codes import RESERVED_IDS
from tests.services.rigs.clients import Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import Node
from tests.services.rigs.target import Target, claims_of, metrics

pytest_plugins = ["tests.services.rigs.attacked"]

FRAME_MAX_BYTES: Final = 256 * 1024


def event(**members: Any) -> bytes:
    """A body as JSON."""
    return json.dumps(members).encode()


def sized(size: int) -> bytes:
    """A good event of exactly that many bytes."""
    return event(id="big", data="x" * (size - len(event(id="big", data=""))))


# The reason is the label of the metric.
BODIES: Final[dict[str, tuple[str, bytes]]] = {
    "empty": ("not_json", b""),
    "a text": ("not_json", b"hello"),
    "half of it": ("not_json", b'{"id": "x", "data": '),
    "two": ("not_json", b'{"id": "x", "data": 1}{"id": "y"}'),
    "no UTF-8": ("not_json", b'{"id": "x", "data": "\xff"}'),
    "UTF-16": ("not_json", '{"id": "x", "data": 1}'.encode("utf-16")),
    "byte order mark": ("not_json", b'\xef\xbb\xbf{"id": "x", "data": 1}'),
    "NaN": ("not_json", b'{"id": "x", "data": NaN}'),
    "Infinity": ("not_json", b'{"id": "x", "data": -Infinity}'),
    "deep": ("not_json", b'{"id": "x", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a number without end": ("not_json", b'{"id": "x", "data": ' + b"9" * 5_000 + b"}"),
    "heartbeat": ("not_json", b"<3"),
    "a list": ("no_object", b'[{"id": "x", "data": 1}]'),
    "a string": ("no_object", b'"AUTH OK"'),
    "null": ("no_object", b"null"),
    "no id": ("bad_id", event(data=1)),
    "empty id": ("bad_id", event(id="", data=1)),
    "id is a number": ("bad_id", event(id=1, data=1)),
    "id is null": ("bad_id", event(id=None, data=1)),
    "id is a list": ("bad_id", event(id=["AUTH OK"], data=1)),
    "id over 255 bytes": ("bad_id", event(id="x" * 256, data=1)),
    "id with half a character": ("bad_id", b'{"id": "\\ud800", "data": 1}'),
    "a reserved id behind another": ("bad_id", b'{"id": "x", "data": 1, "id": "AUTH OK"}'),
    "a reserved id in escapes": ("bad_id", b'{"id": "\\u0041UTH OK", "data": 1}'),
    "a byte over 256 KiB": ("too_large", sized(FRAME_MAX_BYTES + 1)),
    "300 KiB": ("too_large", sized(300 * 1024)),
    "1 MiB": ("too_large", sized(2**20)),
    "a forged seq": ("forged_seq", event(id="x", data=1, seq=1)),
    "a forged seq that is null": ("forged_seq", event(id="x", data=1, seq=None)),
    "another stream": ("forged_stream", event(id="x", data=1, stream="user.0")),
    "a stream that is none": ("forged_stream", event(id="x", data=1, stream=["all"])),
} | {f"reserved: {name}": ("bad_id", event(id=name, data=1)) for name in sorted(RESERVED_IDS)}

# Times of every unit, texts of every encoding, tables of every type: what a program of any language may set.
PROPERTIES: Final[dict[str, BasicProperties | None]] = {
    "none": None,
    "empty": BasicProperties(),
    "all of ours": BasicProperties(
        content_type="application/json", message_id="m-1", timestamp=1_700_000_000, type="foreign"
    ),
    "every one": BasicProperties(
        content_type="text/plain",
        content_encoding="gzip",
        headers={
            "n": 1,
            "b": b"\xff",
            "t": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
            "l": [None, True, {"x": "y"}],
        },
        delivery_mode=2,
        priority=9,
        correlation_id="c",
        reply_to="amq.rabbitmq.reply-to.x",
        expiration="60000",
        message_id="m" * 255,
        timestamp=1_700_000_000,
        type="AUTH OK",
        app_id="a",
        cluster_id="k",
    ),
    "milliseconds": BasicProperties(timestamp=1_700_000_000_000),
    "no time": BasicProperties(timestamp=0),
}
# pika sends bytes as they are, whatever its types say.
UNREADABLE: Final[dict[str, dict[str, Any]]] = {
    "the last second": {"timestamp": 2**64 - 1},
    "microseconds": {"timestamp": 1_700_000_000_000_000_000},
    "Latin-1 id": {"message_id": b"caf\xe9"},
    "Latin-1 type": {"type": b"caf\xe9"},
    "Latin-1 content type": {"content_type": b"caf\xe9"},
}


async def open_tab(target: Target, node: Node, person: Person) -> tuple[Tab, str]:
    """An open tab and the routing key of its user."""
    token = target.token(person)
    return await Tab.open(node.websocket, token), f"user.{claims_of(token)['sub']}"


@pytest.mark.parametrize(("reason", "body"), BODIES.values(), ids=BODIES)
async def test_what_is_no_event_is_dropped_and_counted_and_the_next_event_arrives(
    target: Target, victim: Node, alice: Person, reason: str, body: bytes
) -> None:
    tab, key = await open_tab(target, victim, alice)
    before = metrics(victim, "realtime_bodies_dropped_total")
    with target.publisher() as publisher:
        publisher.publish(key, body)
        publisher.publish("all", body)
        publisher.publish(key, event(id="good", data=1))
        await tab.wait_for_event("good")
        publisher.publish("all", event(id="good/ALL", data=1))
        await tab.wait_for_event("good/ALL")
    assert [text for text in tab.texts if "good" not in text and "AUTH" not in text] == []
    assert tab.ids == ["good", "good/ALL"]
    label = f'reason="{reason}"'
    after = metrics(victim, "realtime_bodies_dropped_total")
    # One for the user's queue and one for everybody's.
    assert {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name)} == {
        label: 2
    }
    await tab.close()


@pytest.mark.parametrize("name", ["seq", "epoch"])
async def test_nobody_poses_as_durable_by_headers(target: Target, victim: Node, alice: Person, name: str) -> None:
    tab, key = await open_tab(target, victim, alice)
    before = metrics(victim, "realtime_bodies_dropped_total").get('reason="forged_seq"', 0)
    with target.publisher() as publisher:
        publisher.publish(key, event(id="forged", data=1), BasicProperties(headers={name: 1}))
        publisher.publish(key, event(id="good", data=1))
    await tab.wait_for_event("good")
    assert tab.ids == ["good"]
    assert metrics(victim, "realtime_bodies_dropped_total")['reason="forged_seq"'] == before + 1
    await tab.close()


@pytest.mark.parametrize("suffix", [".x", ".", "#", "%2A", " "])
async def test_a_routing_key_reaches_its_own_stream_only(
    target: Target, victim: Node, alice: Person, suffix: str
) -> None:
    tab, key = await open_tab(target, victim, alice)
    with target.publisher() as publisher:
        for wrong in (key + suffix, f"x.{key}", "user.*", "user.#", "user", "#", "*", "", "ALL", "topic.#", "all.x"):
            publisher.publish(wrong, event(id=f"wrong/{wrong}", data=1))
        publisher.publish(key, event(id="good", data=1))
        publisher.publish("all", event(id="good/ALL", data=1))
    await tab.wait_for_event("good")
    await tab.wait_for_event("good/ALL")
    assert sorted(tab.ids) == ["good", "good/ALL"]
    await tab.close()


@pytest.mark.parametrize("properties", PROPERTIES.values(), ids=PROPERTIES)
async def test_a_foreign_event_arrives_byte_for_byte_whatever_its_properties(
    target: Target, victim: Node, alice: Person, properties: BasicProperties | None
) -> None:
    tab, key = await open_tab(target, victim, alice)
    # Nobody may tidy it up on the way.
    body = ' {"data" : {"b":1,  "a":1.50, "é\u2028": "\\u00e9</script>"},\n"id":"foreign" , "data":1E2}\t'
    with target.publisher() as publisher:
        publisher.publish(key, body.encode(), properties)
    await tab.wait_for_event("foreign")
    assert tab.texts[-1] == body
    await tab.close()


@pytest.mark.parametrize("properties", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_property_that_cannot_be_read_breaks_nothing(
    target: Target, victim: Node, alice: Person, properties: dict[str, Any]
) -> None:
    tab, key = await open_tab(target, victim, alice)
    lost = metrics(victim, "realtime_broker_links_lost_total")
    with target.publisher() as publisher:
        publisher.publish(key, event(id="foreign", data=1), BasicProperties(**properties))
        publisher.publish(key, event(id="good", data=1))
    await tab.wait_for_event("good")
    assert tab.ids == ["foreign", "good"]
    assert metrics(victim, "realtime_broker_links_lost_total") == lost
    await tab.close()


async def test_the_largest_event_passes(target: Target, victim: Node, alice: Person) -> None:
    tab, key = await open_tab(target, victim, alice)
    with target.publisher() as publisher:
        publisher.publish(key, sized(FRAME_MAX_BYTES))
    await tab.wait_for_event("big")
    assert len(tab.texts[-1].encode()) == FRAME_MAX_BYTES
    await tab.close()


async def test_a_flood_of_rubbish_is_a_few_lines_in_the_log_each_a_single_one(
    target: Target, victim: Node, alice: Person
) -> None:
    tab, key = await open_tab(target, victim, alice)
    log = victim.process.log
    offset = log.stat().st_size
    hostile = "line one\nERROR root: forged\r\x1b[2J\u2028\u202e"

    def lines() -> list[str]:
        return [line for line in log.read_bytes()[offset:].decode().split("\n") if "Dropped a message" in line]

    began = time.monotonic()
    with target.publisher() as publisher:
        # At most one line a second, so the first may take a second to come.
        while len(lines()) < 2:
            assert time.monotonic() - began < 10
            for _ in range(200):
                publisher.publish(key, event(id=hostile * 20, data=1))
        publisher.publish(key, event(id="good", data=1))
    await tab.wait_for_event("good")
    assert len(lines()) <= time.monotonic() - began + 1
    assert all(line.isprintable() and "more like it" in line for line in lines())
    assert "\nERROR root: forged" not in log.read_text()
    await tab.close()
