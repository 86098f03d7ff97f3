"""An event, its frame, and the checks at both doors: the API and the exchange (docs/protocol.md, section 3).

The frame is made once, by the publisher; everything behind it hands the same text on.
"""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .codes import RESERVED_IDS
from .errors import BadEvent
from .names import Stream

# protocol.md, section 3: the whole frame, in bytes.
FRAME_MAX_BYTES: Final = 256 * 1024
# `type` is an AMQP short string: 255 bytes. Ids are words for programs, not texts.
ID_MAX_BYTES: Final = 255


@dataclass(frozen=True, slots=True)
class Event:
    """One thing the server tells a browser, on its way from the publisher to the socket.

    Attributes:
        stream: where it goes; also the AMQP routing key.
        id: what it is called, such as `comment/ADDED`.
        frame: the exact text that browsers get.
        size: length of the frame in UTF-8 bytes.
        mid: fixed when the event was created, the same in every copy; empty for a foreign publisher that gave none.
    """

    stream: Stream
    id: str
    frame: str
    size: int
    mid: str = ""


class DroppedBody(Exception):
    """A message from the exchange that must not reach a browser; `reason` is a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def check_event_id(event_id: object) -> str:
    """Return the id if an application may use it.

    Raises:
        BadEvent: no text, empty, over 255 bytes, no valid Unicode, or reserved by the protocol.
    """
    if not isinstance(event_id, str) or not event_id:
        raise BadEvent(f"an event id is a text that is not empty, not {_quoted(event_id)}")
    if event_id in RESERVED_IDS:
        raise BadEvent(f"the event id {event_id!r} is reserved by the protocol: choose another one")
    try:
        size = len(event_id.encode())
    except UnicodeEncodeError as error:
        raise BadEvent(f"the event id {_quoted(event_id)} is no valid Unicode text") from error
    if size > ID_MAX_BYTES:
        raise BadEvent(f"an event id has at most {ID_MAX_BYTES} bytes, this one has {size}")
    return event_id


class EventTemplate:
    """The parts of an event that all its recipients share, encoded once.

    `encoder` is the class that turns what plain JSON does not know (dates, UUIDs) into JSON.

    Raises:
        BadEvent: a bad id, data that is no JSON, or more than 256 KiB of it.
    """

    __slots__ = ("_head", "event_id")

    def __init__(self, event_id: str, data: object, encoder: type[json.JSONEncoder]) -> None:
        self.event_id = check_event_id(event_id)
        try:
            text = json.dumps(data, cls=encoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise BadEvent(f"the data of event {event_id!r} is no JSON: {error}") from error
        if size > FRAME_MAX_BYTES:
            raise BadEvent(_too_large(event_id, size))
        self._head = f'{{"id":{_text(event_id)},"data":{text}'

    def for_stream(self, stream: Stream, *, mid: str, ts: float) -> Event:
        """The event for one stream; `ts` is unix time in seconds."""
        frame = f'{self._head},"stream":"{stream}","mid":"{mid}","ts":{ts:.3f}}}'
        size = len(frame.encode())
        if size > FRAME_MAX_BYTES:
            raise BadEvent(_too_large(self.event_id, size))
        return Event(stream, self.event_id, frame, size, mid)


def parse_body(body: bytes, stream: Stream, headers: Mapping[str, Any], mid: str = "") -> Event:
    """Check a message from the exchange and make it an event, without changing a byte of it.

    Raises:
        DroppedBody: what protocol.md, section 3, says must never reach a browser.
    """
    if len(body) > FRAME_MAX_BYTES:
        raise DroppedBody("too_large", f"{len(body)} bytes")
    try:
        frame = body.decode()
        content = json.loads(frame, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DroppedBody("not_json") from error
    if not isinstance(content, dict):
        raise DroppedBody("no_object")
    try:
        event_id = check_event_id(content.get("id"))
    except BadEvent as error:
        raise DroppedBody("bad_id", str(error)) from error
    # Ephemeral events have no seq, and nobody may claim a stream other than the one that carried the message.
    if "seq" in content or "seq" in headers or "epoch" in headers:
        raise DroppedBody("forged_seq")
    if content.get("stream", stream) != stream:
        raise DroppedBody("forged_stream")
    return Event(stream, event_id, frame, len(body), mid)


def _quoted(value: object) -> str:
    # Anybody's input, on its way into a message and a log: short, and never evaluated as a whole.
    return reprlib.repr(value)


def _refuse_constant(name: str) -> object:
    # Python reads NaN and Infinity, JSON.parse in a browser throws on them.
    raise ValueError(f"{name} is no JSON")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _too_large(event_id: str, size: int) -> str:
    return f"event {event_id!r} has {size} bytes, a frame holds at most {FRAME_MAX_BYTES}: send a reference instead"
