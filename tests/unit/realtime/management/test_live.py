"""`realtime sessions` and `realtime kick` (docs/commands.md)."""

from dataclasses import replace
from typing import Any

import pytest
from django.core.management.base import CommandError

from apps.realtime.core.errors import BadRecipient
from apps.realtime.core.live import LiveSession
from apps.realtime.management import live as module
from apps.realtime.management.live import kick_sessions, show_sessions, user_id_of, user_of
from apps.realtime.publishing.asking import Report, SilentNode
from tests.unit.conftest import MakeUser

SID = "0123456789abcdef"
TAB = LiveSession("web:12", SID, "7", "alice", "v1", 1_800_000_000, ("news", "order-1"), 3, 12, 4, "192.0.2.1")
NOTHING = Report([], 0, 0, 2, [], None)

pytestmark = pytest.mark.django_db


class Asked:
    """Stands in for the nodes.

    Attributes:
        report: what they say.
        calls: what they were asked.
    """

    def __init__(self) -> None:
        self.report = NOTHING
        self.calls: list[Any] = []

    def list_sessions(self, user_id: str | None = None) -> Report:
        self.calls.append(user_id)
        return self.report

    def kick(self, **which: Any) -> Report:
        self.calls.append(which)
        return self.report


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(module, "list_sessions", asked.list_sessions)
    monkeypatch.setattr(module, "kick", asked.kick)
    return asked


def shown(who: str | None = None, taken_as: str | None = None) -> list[str]:
    lines: list[str] = []
    show_sessions(who, taken_as, lines.append)
    return lines


def kicked(who: str, taken_as: str | None = None) -> list[str]:
    lines: list[str] = []
    kick_sessions(who, taken_as, lines.append)
    return lines


# sessions ----------------------------------------------------------------------------------------


def test_a_session_is_a_line(asked: Asked) -> None:
    asked.report = replace(NOTHING, sessions=[TAB], total=1)
    head, line, summary = shown()
    assert head.split() == ["sid", "user", "node", "dialect", "connected", "topics", "up", "to", "unacked", "address"]
    shown_as = "7 alice  web:12  v1       2027-01-15 08:00:00  news, order-1 and 3 more  12     4        192.0.2.1"
    assert line == f"{SID}  {shown_as}"
    assert summary == "1 session on 2 nodes"
    assert asked.calls == [None]


def test_what_is_not_known_is_said(asked: Asked) -> None:
    nobody = replace(
        TAB,
        user_id=None,
        username="",
        dialect="seed",
        topics=(),
        more_topics=0,
        position=None,
        unacked=None,
        address=None,
    )
    asked.report = replace(
        NOTHING, sessions=[nobody], total=501, answered=1, silent=[SilentNode("web:13", 41.7)], problem="refused\x1b"
    )
    _, line, *rest = shown()
    assert line.split() == [SID, "(not", "authenticated)", "web:12", "seed", "2027-01-15", "08:00:00", *"----"]
    assert rest == [
        "501 sessions on 1 node, 500 more than are shown: ask for a user",
        "no answer from web:13, seen 42 s ago",
        "a node that lives looks by itself within 30 s; one that was killed is forgotten after 90 s",
        "the broker cannot be reached from here: refused\\u001b",
    ]


def test_nothing_that_a_user_typed_steers_the_terminal(asked: Asked) -> None:
    asked.report = replace(
        NOTHING, sessions=[replace(TAB, username="\x1b[2Jmallory", topics=("a\nb",), address="\r")], total=1
    )
    lines = shown()
    assert all(line.isprintable() for line in lines)
    assert "\\u001b[2Jmallory" in lines[1]


def test_the_sessions_of_one_user(asked: Asked, make_user: MakeUser) -> None:
    alice = make_user("alice")
    assert shown("alice") == ["0 sessions on 2 nodes"]
    shown(str(alice.pk))
    shown("alice", "name")
    shown("12345", "key")
    assert asked.calls == [str(alice.pk)] * 3 + ["12345"]


# kick --------------------------------------------------------------------------------------------


def test_a_user_or_a_session_is_kicked(asked: Asked, make_user: MakeUser) -> None:
    alice = make_user("alice")
    asked.report = replace(NOTHING, kicked=3)
    assert kicked("alice") == [f"closed 3 sockets of the user of key {alice.pk} on 2 nodes"]
    asked.report = replace(NOTHING, kicked=1, answered=1, silent=[SilentNode("web:13", 1)])
    first, silent, _ = kicked(SID)
    assert (first, silent) == (f"closed 1 socket of the session {SID} on 1 node", "no answer from web:13, seen 1 s ago")
    assert asked.calls == [{"user_id": str(alice.pk)}, {"sid": SID}]


def test_a_user_who_is_called_like_a_session_protects_nobody(asked: Asked, make_user: MakeUser) -> None:
    mallory = make_user(SID)
    with pytest.raises(CommandError, match="may be a session and is a user: say --as sid"):
        kicked(SID)
    kicked(SID, "sid")
    kicked(SID, "name")
    assert asked.calls == [{"sid": SID}, {"user_id": str(mallory.pk)}]


@pytest.mark.parametrize("who", ["", "x" * 16, "0" * 15, SID + "0", SID.upper()])
def test_what_is_no_session_is_refused(asked: Asked, who: str) -> None:
    with pytest.raises(CommandError, match="16 characters"):
        kicked(who, "sid")
    assert asked.calls == []


# Who is meant ------------------------------------------------------------------------------------


def test_two_who_may_be_meant_are_told_apart(make_user: MakeUser) -> None:
    alice = make_user("alice")
    key = str(alice.pk)
    number = make_user(key)
    with pytest.raises(CommandError, match=f"{key} is the name of the user of key {number.pk}, and the key of another"):
        user_id_of(key, None)
    assert (user_id_of(key, "name"), user_id_of(key, "key")) == (str(number.pk), key)


def test_nobody_is_told(make_user: MakeUser) -> None:
    alice = make_user("alice")
    with pytest.raises(CommandError, match=r"^no user is called 'bob', or has that key$"):
        user_id_of("bob", None)
    with pytest.raises(CommandError, match=r"^no user is called '[0-9]+'$"):
        user_id_of(str(alice.pk), "name")
    with pytest.raises(CommandError) as told:
        user_id_of("\x1b[2J\u202e", None)
    assert str(told.value).isprintable()
    with pytest.raises(BadRecipient):
        user_id_of("x" * 300, "key")


def test_a_user_of_a_key(make_user: MakeUser) -> None:
    alice = make_user("alice")
    assert user_of(str(alice.pk)) == alice
    assert user_of("alice") is None
