"""RFC 6455, section 5.2, as far as a server needs it."""

import struct

import pytest

from apps.realtime.core.framing import websocket_message


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f" + struct.pack("!Q", 65_536)),
    ],
)
def test_the_length_takes_the_shortest_form(size: int, head: bytes) -> None:
    assert websocket_message("x" * size) == head + b"x" * size


def test_the_length_is_that_of_the_bytes() -> None:
    text = "ä" * 63
    assert websocket_message(text) == b"\x81\x7e\x00\x7e" + text.encode()
