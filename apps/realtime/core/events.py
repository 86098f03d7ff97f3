"""An event, its frame, and the checks at both doors: the API and the exchange (docs/protocol.md, section 3).

The frame is made once, by the publisher; everything behind it hands the same text on.
"""

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from .codes import RESERVED_IDS
from .errors import BadEvent
from .framing import websocket_message
from .names import CONTROL, Stream
from .texts import checked_group, checked_title, checked_url

# protocol.md, section 3: the whole frame, in bytes.
FRAME_MAX_BYTES: Final = 256 * 1024
# A count of unread notifications stops here: beyond it people see "999+".
UNREAD_MAX: Final = 1_000
# In place of a count that is made when the event is numbered. Processes of a release that made none leave it there, and
# a 0 would tell every page that has been away that all is read.
UNCOUNTED: Final = -1
# What numbering adds to a frame: a count and a 64-bit number.
SEQ_MAX_BYTES: Final = len(f',"unread":{UNREAD_MAX}') + len(',"seq":') + 19
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
        epoch: the numbering that `seq` belongs to; empty for an ephemeral event.
        seq: position in the stream, from 1 on; 0 for an ephemeral event.
    """

    stream: Stream
    id: str
    frame: str
    size: int
    mid: str = ""
    epoch: str = ""
    seq: int = 0
    _message: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def message(self) -> bytes:
        """The frame as sockets carry it: made for the first of them, the same bytes for all."""
        if self._message is None:
            object.__setattr__(self, "_message", websocket_message(self.frame))
        assert self._message is not None
        return self._message

    @property
    def is_signed(self) -> bool:
        """Whether it counts with our signature only. A second copy of it does no harm, and a lost one is found."""
        return self.seq > 0 or self.stream == CONTROL


# Given the epoch, the body and the header `sig` of a durable event: whether one of our processes numbered it.
IsGenuine = Callable[[str, bytes, str], bool]


class DroppedBody(Exception):
    """A message from the exchange that must not reach a browser; `reason` is a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def check_event_id(event_id: object) -> str:
    """Return the id if an application may use it.

    Raises:
        BadEvent: no text, empty, over 255 bytes, no valid Unicode, with a zero byte, which PostgreSQL cannot store, or
            reserved by the protocol.
    """
    if not isinstance(event_id, str) or not event_id:
        raise BadEvent(f"an event id is a text that is not empty, not {_quoted(event_id)}")
    if event_id in RESERVED_IDS:
        raise BadEvent(f"the event id {event_id!r} is reserved by the protocol: choose another one")
    if "\0" in event_id:
        raise BadEvent(f"the event id {_quoted(event_id)} holds a zero byte")
    try:
        size = len(event_id.encode())
    except UnicodeEncodeError as error:
        raise BadEvent(f"the event id {_quoted(event_id)} is no valid Unicode text") from error
    if size > ID_MAX_BYTES:
        raise BadEvent(f"an event id has at most {ID_MAX_BYTES} bytes, this one has {size}")
    return event_id


class EventTemplate:
    """The parts of an event that all its recipients share, encoded once.

    `encoder` is the class that turns what plain JSON does not know (dates, UUIDs) into JSON. `title` and `url` are for
    people: what happened, and where to look. With a title it is for inboxes, where it replaces what has its `group`.
    The attribute `data` is the JSON.

    Raises:
        BadEvent: a bad id, data that is no JSON, or more than 256 KiB of it; a bad title, url or group, or a group
            without a title.
    """

    __slots__ = ("_head", "_texts", "data", "event_id", "group", "title", "url")

    def __init__(
        self,
        event_id: str,
        data: object,
        encoder: type[json.JSONEncoder],
        *,
        title: str | None = None,
        url: str | None = None,
        group: str | None = None,
    ) -> None:
        self.event_id = check_event_id(event_id)
        try:
            self.data = _encoder(encoder).encode(data)  # type: ignore[arg-type]  # classes can be hashed
            size = len(self.data.encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise BadEvent(f"the data of event {event_id!r} is no JSON: {error}") from error
        if size > FRAME_MAX_BYTES:
            raise BadEvent(_too_large(event_id, size))
        self._head = f'{{"id":{_text(event_id)},"data":{self.data}'
        self.title = None if title is None else checked_title(event_id, title)
        self.url = None if url is None else checked_url(event_id, url)
        self.group = None if group is None else checked_group(event_id, group)
        if group is not None and title is None:
            raise BadEvent(f"event {event_id!r} has a group and no title: only notifications with a title are grouped")
        self._texts = "".join(
            f',"{name}":{_text(value)}'
            for name, value in (("title", self.title), ("url", self.url))
            if value is not None
        )

    def for_stream(self, stream: Stream, *, mid: str, ts: float, room_bytes: int = 0, muted: bool = False) -> Event:
        """The ephemeral event for one stream; `ts` is unix time in seconds, `room_bytes` stay free for a number.

        `muted` leaves out what is for people.

        Raises:
            BadEvent: the whole is over 256 KiB.
        """
        texts = "" if muted else self._texts
        frame = f'{self._head}{texts},"stream":"{stream}","mid":"{mid}","ts":{ts:.3f}}}'
        size = len(frame.encode())
        if size > FRAME_MAX_BYTES - room_bytes:
            raise BadEvent(_too_large(self.event_id, size))
        return Event(stream, self.event_id, frame, size, mid)


def numbered(
    stream: Stream, event_id: str, frame: str, mid: str, epoch: str, seq: int, unread: int | None = None
) -> Event:
    """The durable event made of an ephemeral frame that `EventTemplate` made.

    `unread` is how many unread notifications the user of the stream has, where the event is about that and somebody has
    counted.
    """
    count = "" if unread is None or unread == UNCOUNTED else f',"unread":{unread}'
    frame = f'{frame[:-1]}{count},"seq":{seq}}}'
    return Event(stream, event_id, frame, len(frame.encode()), mid, epoch, seq)


def parse_body(
    body: bytes, stream: Stream, headers: Mapping[str, Any], is_genuine: IsGenuine, *, mid: str = ""
) -> Event:
    """Check a message from the exchange and make it an event, without changing a byte of it.

    A seq is believed only with the signature of one of our own processes: a number that the database does not hold
    never reaches a browser, and no query is needed to know. So is whatever comes on the routing key `control`; it is
    signed as an event of no epoch, which no durable event is.

    Raises:
        DroppedBody: what protocol.md, section 3, says must never reach a browser.
    """
    if len(body) > FRAME_MAX_BYTES:
        raise DroppedBody("too_large", f"{len(body)} bytes")
    try:
        frame = body.decode()
        content = _DECODER.decode(frame)
    except (ValueError, RecursionError) as error:
        raise DroppedBody("not_json") from error
    if not isinstance(content, dict):
        raise DroppedBody("no_object")
    try:
        event_id = check_event_id(content.get("id"))
    except BadEvent as error:
        raise DroppedBody("bad_id", str(error)) from error
    # Nobody may claim a stream other than the one that carried the message.
    if content.get("stream", stream) != stream:
        raise DroppedBody("forged_stream")
    if stream == CONTROL:
        signature = headers.get("sig")
        if not isinstance(signature, str) or not is_genuine("", body, signature):
            raise DroppedBody("forged_control")
        return Event(stream, event_id, frame, len(body), mid)
    if not ("seq" in content or "seq" in headers or "epoch" in headers):
        return Event(stream, event_id, frame, len(body), mid)
    epoch, seq, signature = headers.get("epoch"), headers.get("seq"), headers.get("sig")
    genuine = (
        type(seq) is int
        and isinstance(epoch, str)
        and isinstance(signature, str)
        and content.get("seq") == seq
        and "stream" in content
        and is_genuine(epoch, body, signature)
    )
    if not genuine:
        raise DroppedBody("forged_seq")
    assert isinstance(epoch, str)
    assert isinstance(seq, int)
    return Event(stream, event_id, frame, len(body), mid, epoch, seq)


def _quoted(value: object) -> str:
    # Anybody's input, on its way into a message and a log: short, and never evaluated as a whole.
    return reprlib.repr(value)


def _refuse_constant(name: str) -> object:
    # Python reads NaN and Infinity, JSON.parse in a browser throws on them.
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


@cache
def _encoder(kind: type[json.JSONEncoder]) -> json.JSONEncoder:
    return kind(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_text: Final = json.JSONEncoder(ensure_ascii=False).encode


def _too_large(event_id: str, size: int) -> str:
    return f"event {event_id!r} has {size} bytes, a frame holds at most {FRAME_MAX_BYTES}: send a reference instead"
