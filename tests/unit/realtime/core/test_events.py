"""Both doors of an event: the API and the exchange (docs/protocol.md, section 3)."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.core.codes import RESERVED_IDS
from apps.realtime.core.errors import BadEvent
from apps.realtime.core.events import (
    FRAME_MAX_BYTES,
    ID_MAX_BYTES,
    SEQ_MAX_BYTES,
    UNCOUNTED,
    UNREAD_MAX,
    DroppedBody,
    Event,
    EventTemplate,
    check_event_id,
    numbered,
    parse_body,
)
from apps.realtime.core.names import ALL, Stream, user_stream
from tests.signing import SIGNER

STREAM = user_stream("7")
BAD_IDS: list[Any] = [
    None,
    "",
    5,
    True,
    b"bytes",
    ["list"],
    "\ud800",
    "a\0b",
    "x" * (ID_MAX_BYTES + 1),
    "é" * 128,
    *sorted(RESERVED_IDS),
]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=10,
)
event_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda text: text not in RESERVED_IDS and "\0" not in text
)


def template(event_id: Any = "app/EVENT", data: object = None) -> EventTemplate:
    return EventTemplate(event_id, data, DjangoJSONEncoder)


def body(**content: Any) -> bytes:
    return json.dumps(content).encode()


# The API's door ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event_id", BAD_IDS)
def test_the_api_refuses_a_bad_or_reserved_id(event_id: Any) -> None:
    with pytest.raises(BadEvent):
        template(event_id)


@pytest.mark.parametrize("event_id", ["x", "comment/ADDED", "é" * 127, "auth ok", "AUTH OK ", "</script>", "\u2028"])
def test_any_other_text_is_an_id(event_id: str) -> None:
    assert check_event_id(event_id) == event_id


@pytest.mark.parametrize(
    "data",
    [
        float("nan"),
        float("inf"),
        [-float("inf")],
        {"a": object()},
        {("tuple",): 1},
        {1, 2},
        b"bytes",
        "\ud800",
        {"\udfff": 1},
        [10**5000],
    ],
)
def test_data_that_is_no_json_is_refused(data: object) -> None:
    with pytest.raises(BadEvent):
        template(data=data)


def test_data_that_holds_itself_or_is_too_deep_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for data in (circle, deep):
        with pytest.raises(BadEvent):
            template(data=data)


def test_a_frame_holds_256_kib_and_not_a_byte_more() -> None:
    empty = template(data="").for_stream(STREAM, mid="m", ts=0.0)
    room = FRAME_MAX_BYTES - empty.size
    full = template(data="x" * room).for_stream(STREAM, mid="m", ts=0.0)
    assert full.size == len(full.frame.encode()) == FRAME_MAX_BYTES
    with pytest.raises(BadEvent, match="at most 262144"):
        template(data="x" * (room + 1)).for_stream(STREAM, mid="m", ts=0.0)
    with pytest.raises(BadEvent, match="at most 262144"):
        template(data="é" * (FRAME_MAX_BYTES // 2))


def test_what_djangos_encoder_knows_is_data() -> None:
    data = {"at": datetime(2026, 1, 2, tzinfo=UTC), "key": UUID(int=7)}
    frame = template(data=data).for_stream(STREAM, mid="m", ts=0.0).frame
    assert json.loads(frame)["data"] == {"at": "2026-01-02T00:00:00Z", "key": str(UUID(int=7))}


@given(event_ids, json_values)
def test_the_frame_says_what_was_pushed_and_passes_the_other_door(event_id: str, data: object) -> None:
    event = template(event_id, data).for_stream(STREAM, mid="mid-1", ts=1_800_000_000.25)
    assert json.loads(event.frame) == {
        "id": event_id,
        "data": data,
        "stream": "user.7",
        "mid": "mid-1",
        "ts": 1_800_000_000.25,
    }
    assert event.size == len(event.frame.encode())
    assert parse_body(event.frame.encode(), STREAM, {}, SIGNER.is_genuine, mid="mid-1") == event


def test_the_streams_of_one_event_differ_in_stream_and_mid_only() -> None:
    shared = template(data=[1])
    one = json.loads(shared.for_stream(STREAM, mid="a", ts=1).frame)
    other = json.loads(shared.for_stream(Stream("all"), mid="b", ts=1).frame)
    assert one | {"stream": "all", "mid": "b"} == other


# The exchange's door -----------------------------------------------------------------------------


@pytest.mark.parametrize("event_id", [event_id for event_id in BAD_IDS if not isinstance(event_id, bytes)])
def test_a_foreign_body_with_a_bad_or_reserved_id_is_dropped(event_id: Any) -> None:
    with pytest.raises(DroppedBody) as caught:
        parse_body(body(id=event_id, data=1), STREAM, {}, SIGNER.is_genuine)
    assert caught.value.reason == "bad_id"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_json"),
        (b"hello", "not_json"),
        (b'{"id": "x"', "not_json"),
        (b'{"id": "x", "data": NaN}', "not_json"),
        (b'{"id": "x", "data": -Infinity}', "not_json"),
        (b'{"id": "x"} trailing', "not_json"),
        (b"\xef\xbb\xbf" + b'{"id": "x"}', "not_json"),  # a byte order mark
        (b'{"id": "\xff"}', "not_json"),
        ('{"id": "x"}'.encode("utf-16"), "not_json"),
        (b'{"id": "x", "data": ' + b"9" * 5000 + b"}", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"id":"x","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not_json"),
        (b"null", "no_object"),
        (b'"x"', "no_object"),
        (b'[{"id": "x"}]', "no_object"),
        (b"{}", "bad_id"),
        (b'{"data": 1}', "bad_id"),
        (b'{"ID": "x"}', "bad_id"),
        (b'{"id": "x", "id": "AUTH OK"}', "bad_id"),  # the last key wins, in a browser too
        (b'{"id": "AUTH\\u0020OK"}', "bad_id"),  # compared after decoding
        (b'{"id": "\\ud800"}', "bad_id"),
        (b'{"id": "x", "seq": 1}', "forged_seq"),
        (b'{"id": "x", "seq": null}', "forged_seq"),
        (b'{"id": "x", "stream": "user.8"}', "forged_stream"),
        (b'{"id": "x", "stream": null}', "forged_stream"),
        (b'{"id": "x", "stream": ["user.7"]}', "forged_stream"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_foreign_body_that_is_no_event_is_dropped(raw: bytes, reason: str) -> None:
    with pytest.raises(DroppedBody) as caught:
        parse_body(raw, STREAM, {}, SIGNER.is_genuine)
    assert caught.value.reason == reason


def durable(seq: int = 5, epoch: str = "e1") -> tuple[bytes, dict[str, Any]]:
    """The body and the headers of a durable event of ours."""
    event = template("x", 1).for_stream(STREAM, mid="m", ts=1, room_bytes=SEQ_MAX_BYTES)
    raw = numbered(STREAM, event.id, event.frame, event.mid, epoch, seq).frame.encode()
    return raw, {"epoch": epoch, "seq": seq, "sig": SIGNER.sign(epoch, raw)}


def test_a_number_is_the_last_field_of_the_frame() -> None:
    raw, headers = durable(2**63 - 1)
    event = parse_body(raw, STREAM, headers, SIGNER.is_genuine, mid="m")
    assert json.loads(raw) == {"id": "x", "data": 1, "stream": STREAM, "mid": "m", "ts": 1, "seq": 2**63 - 1}
    assert (event.epoch, event.seq, event.frame, event.size) == ("e1", 2**63 - 1, raw.decode(), len(raw))


def test_the_largest_number_fits_into_the_largest_frame() -> None:
    shell = template("x", "").for_stream(STREAM, mid="m", ts=1).size
    longest = "y" * (FRAME_MAX_BYTES - SEQ_MAX_BYTES - shell)
    event = template("x", longest).for_stream(STREAM, mid="m", ts=1, room_bytes=SEQ_MAX_BYTES)
    assert numbered(STREAM, "x", event.frame, "m", "e1", 2**63 - 1, UNREAD_MAX).size == FRAME_MAX_BYTES
    with pytest.raises(BadEvent, match="at most"):
        template("x", longest + "y").for_stream(STREAM, mid="m", ts=1, room_bytes=SEQ_MAX_BYTES)


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 6},
        {"seq": "5"},
        {"seq": True},
        {"seq": None},
        {"epoch": "e2"},
        {"epoch": b"e1"},
        {"epoch": None},
        {"sig": None},
        {"sig": ""},
        {"sig": "0" * 32},
        {"sig": "\ud800\u00e9"},
        {"sig": b"0" * 32},
    ],
    ids=repr,
)
def test_a_number_without_our_signature_is_forged(change: dict[str, Any]) -> None:
    raw, headers = durable()
    with pytest.raises(DroppedBody, match="forged_seq"):
        parse_body(raw, STREAM, headers | change, SIGNER.is_genuine)


def test_a_signature_stands_for_one_body_and_one_epoch() -> None:
    raw, headers = durable()
    other, _ = durable(6)
    for forged, claimed in [(other, headers | {"seq": 6}), (raw.replace(b'"data":1', b'"data":2'), headers)]:
        with pytest.raises(DroppedBody, match="forged_seq"):
            parse_body(forged, STREAM, claimed, SIGNER.is_genuine)


def test_a_durable_event_of_another_stream_is_forged() -> None:
    raw, headers = durable()
    with pytest.raises(DroppedBody, match="forged_stream"):
        parse_body(raw, user_stream("8"), headers, SIGNER.is_genuine)
    shorn = b'{"id":"x","seq":5}'
    with pytest.raises(DroppedBody, match="forged_seq"):
        parse_body(shorn, STREAM, {"epoch": "e1", "seq": 5, "sig": SIGNER.sign("e1", shorn)}, SIGNER.is_genuine)


def test_a_title_and_a_url_stand_beside_the_data() -> None:
    shared = EventTemplate("x", 1, DjangoJSONEncoder, title='Paid "5" \u2028 »\n', url="/invoices/5", group="invoices")
    assert (shared.title, shared.url, shared.group) == ('Paid "5" \u2028 »', "/invoices/5", "invoices")
    frame = json.loads(shared.for_stream(STREAM, mid="m", ts=1).frame)
    expected = {"id": "x", "data": 1, "title": shared.title, "url": shared.url, "stream": STREAM, "mid": "m", "ts": 1}
    assert frame == expected


def test_who_has_muted_an_event_gets_it_without_what_is_for_people() -> None:
    shared = EventTemplate("x", 1, DjangoJSONEncoder, title="Paid", url="/invoices/5")
    frame = shared.for_stream(STREAM, mid="m", ts=1, muted=True).frame
    assert frame == template("x", 1).for_stream(STREAM, mid="m", ts=1).frame


@pytest.mark.parametrize("bad", [5, b"x", "\ud800", ["x"], ""])
def test_title_url_and_group_are_texts(bad: Any) -> None:
    for name in ("title", "url", "group"):
        with pytest.raises(BadEvent, match=name):
            EventTemplate("x", 1, DjangoJSONEncoder, **{"title": "t", name: bad})


def test_only_what_has_a_title_is_grouped() -> None:
    with pytest.raises(BadEvent, match="no title"):
        EventTemplate("x", 1, DjangoJSONEncoder, group="g")


def test_a_count_stands_before_the_number() -> None:
    event = template("x", 1).for_stream(STREAM, mid="m", ts=1, room_bytes=SEQ_MAX_BYTES)
    counted = numbered(STREAM, "x", event.frame, "m", "e1", 7, 0)
    assert counted.frame.endswith(',"ts":1.000,"unread":0,"seq":7}')
    assert counted.size == len(counted.frame)
    # Numbered by a process that does not count.
    assert numbered(STREAM, "x", event.frame, "m", "e1", 7, UNCOUNTED) == numbered(
        STREAM, "x", event.frame, "m", "e1", 7
    )


@pytest.mark.parametrize("headers", [{"seq": 1}, {"epoch": "e"}, {"seq": 1, "epoch": "e"}])
def test_headers_of_a_durable_event_on_an_ephemeral_one_are_forged(headers: dict[str, Any]) -> None:
    with pytest.raises(DroppedBody, match="forged_seq"):
        parse_body(body(id="x", data=1), STREAM, headers, SIGNER.is_genuine)


def test_a_body_holds_256_kib_and_not_a_byte_more() -> None:
    shell = len(body(id="x", data=""))
    full = body(id="x", data="y" * (FRAME_MAX_BYTES - shell))
    assert parse_body(full, STREAM, {}, SIGNER.is_genuine).size == FRAME_MAX_BYTES
    with pytest.raises(DroppedBody, match="too_large"):
        parse_body(full + b" ", STREAM, {}, SIGNER.is_genuine)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id":"x"}',
        b' { "data" : [1, 2.50, 1e3] ,\n "id":"x" } ',
        b'{"id": "AUTH OK", "id": "x"}',
        '{"id":"caf\u00e9","data":"\u2028 </script> \U0001f600"}'.encode(),
        b'{"id":"x","data":"\\ud800"}',
        b'{"id":"x","stream":"user.7","mid":5,"ts":"whenever","more":{}}',
    ],
)
def test_the_frame_is_the_body_byte_for_byte(raw: bytes) -> None:
    event = parse_body(raw, STREAM, {"x-other": 1}, SIGNER.is_genuine, mid="mid-9")
    assert event.frame.encode() == raw
    assert (event.stream, event.size, event.mid) == (STREAM, len(raw), "mid-9")


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_does_more_than_being_dropped(raw: bytes) -> None:
    try:
        event = parse_body(raw, STREAM, {}, SIGNER.is_genuine)
    except DroppedBody:
        return
    assert event.id not in RESERVED_IDS


def test_a_message_quotes_a_foreign_value_briefly() -> None:
    for bad in ["\ud800" + "x" * 300_000, ["x" * 300_000] * 10, {"k" * 300_000: 1}]:
        with pytest.raises(BadEvent) as caught:
            check_event_id(bad)
        assert len(str(caught.value)) < 500


def test_what_sockets_carry_is_made_once() -> None:
    event = Event(ALL, "a/B", "ä" * 100, 200)
    assert event.message == b"\x81\x7e\x00\xc8" + event.frame.encode()
    assert event.message is event.message
    assert event == Event(ALL, "a/B", "ä" * 100, 200)
