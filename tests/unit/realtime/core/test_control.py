"""What our processes tell the nodes, and who else cannot (docs/security.md)."""

import json
from typing import Any

import pytest

from apps.realtime.core.control import Asked, Change, message_of
from apps.realtime.core.events import DroppedBody, Event, parse_body
from apps.realtime.core.names import CONTROL, user_stream
from tests.signing import SIGNER
from tests.unit.realtime.core.driver import durable

MESSAGES = [
    Change("7"),
    Change("é😀\ud800\n"),
    Change(None),
    Change("7", "order-1"),
    Change("7", "\0\ud800"),
    Asked(),
]


def signed(body: bytes, epoch: str = "") -> dict[str, Any]:
    return {"sig": SIGNER.sign(epoch, body)}


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_arrives_as_it_was_told(message: Change | Asked) -> None:
    sent = message.event("m1")
    assert sent.is_signed
    body = sent.frame.encode()
    came = parse_body(body, CONTROL, signed(body), SIGNER.is_genuine, mid="m1")
    assert came == sent
    assert message_of(came) == message


def test_the_release_before_takes_a_request_for_the_change_of_nobody() -> None:
    """It reads the data of every message, whatever its id."""
    assert json.loads(Asked().event("m1").frame)["data"] == {"user": "", "topic": None}


def test_what_a_later_release_tells_is_nothing() -> None:
    frame = '{"id": "LATER", "data": null, "stream": "control", "mid": "m1"}'
    assert message_of(Event(CONTROL, "LATER", frame, len(frame), "m1")) is None


@pytest.mark.parametrize("headers", [{}, {"sig": 5}, {"sig": ""}, {"sig": "0" * 32}])
def test_without_our_signature_it_is_forged(headers: dict[str, Any]) -> None:
    body = Change("7").event("m1").frame.encode()
    with pytest.raises(DroppedBody, match="forged_control"):
        parse_body(body, CONTROL, headers, SIGNER.is_genuine)


def test_a_signature_for_a_change_makes_no_durable_event_and_the_reverse() -> None:
    change = Change("7").event("m1").frame.encode()
    with pytest.raises(DroppedBody, match="forged_stream"):
        parse_body(change, user_stream("7"), {"epoch": "", "seq": 1} | signed(change), SIGNER.is_genuine)
    without_stream = b'{"id": "CHANGED", "data": {"user": "7", "topic": null}, "seq": 1}'
    headers = {"epoch": "", "seq": 1} | signed(without_stream)
    with pytest.raises(DroppedBody, match="forged_seq"):
        parse_body(without_stream, user_stream("7"), headers, SIGNER.is_genuine)
    event = durable(user_stream("7"), 1).frame.encode()
    with pytest.raises(DroppedBody, match="forged_stream"):
        parse_body(event, CONTROL, signed(event, "e1"), SIGNER.is_genuine)
    other = b'{"id": "CHANGED", "data": {"user": "7", "topic": null}}'
    with pytest.raises(DroppedBody, match="forged_control"):
        parse_body(other, CONTROL, signed(other, "e1"), SIGNER.is_genuine)
