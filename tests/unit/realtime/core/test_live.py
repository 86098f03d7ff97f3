"""What a node tells of its sockets (docs/commands.md)."""

import json

from apps.realtime.core.live import SID, LiveSession, dumped, loaded

ALICE = LiveSession("host:1", "0" * 16, "7", "alice \0\ud800", "v1", 1.5, ("news", "é\n"), 2, 12, 0, "192.0.2.1")
NOBODY = LiveSession("host:1", "f" * 16, None, "", "seed", 2.0, (), 0, None, None, None)


def test_sessions_come_back_as_they_were_told() -> None:
    assert loaded(dumped([ALICE, NOBODY])) == [ALICE, NOBODY]
    assert loaded(dumped([])) == []


def test_the_text_is_one_that_every_database_takes() -> None:
    text = dumped([ALICE])
    assert text.isascii()
    assert "\0" not in text


def test_what_the_next_release_adds_is_left_out() -> None:
    [row] = json.loads(dumped([ALICE]))
    assert loaded(json.dumps([row | {"battery": 5}])) == [ALICE]


def test_a_sid_is_told_from_a_name() -> None:
    assert SID.fullmatch(ALICE.sid)
    assert not any(SID.fullmatch(name) for name in ("alice", "7", "0" * 15, "0" * 17, "G" * 16, "0" * 16 + "\n"))
