"""Close codes and reserved ids (docs/protocol.md, section 2); tests/unit/test_codes_agree.py compares JS and docs."""

import pytest

from apps.realtime.core import codes
from apps.realtime.core.codes import RESERVED_IDS, CloseCode


@pytest.mark.parametrize("code", CloseCode)
def test_4000_to_4499_means_reconnect_and_4500_to_4999_means_stop(code: CloseCode) -> None:
    assert 4000 <= code <= 4999
    assert code.reconnect is (code <= 4499)


def test_the_codes_are_the_protocols() -> None:
    assert {code.name: int(code) for code in CloseCode} == {
        "DRAIN": 4001,
        "TOO_SLOW": 4002,
        "AUTH_TIMEOUT": 4003,
        "HEARTBEAT_MISSED": 4005,
        "RESYNC": 4006,
        "RATE_LIMITED": 4008,
        "AUTH_FAILED": 4501,
        "PROTOCOL_VIOLATION": 4502,
        "REVOKED": 4503,
        "TOO_MANY_CONNECTIONS": 4504,
        "ORIGIN_REFUSED": 4505,
    }


def test_every_control_word_is_reserved() -> None:
    words = {
        value
        for name, value in vars(codes).items()
        if name.isupper() and isinstance(value, str) and name != "SUBPROTOCOL"
    }
    assert words == RESERVED_IDS
