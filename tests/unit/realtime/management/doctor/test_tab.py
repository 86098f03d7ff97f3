"""The doctor's own tab, at servers that behave and at others (docs/doctor.md)."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from apps.realtime.management.doctor.door import Door
from apps.realtime.management.doctor.findings import Status
from apps.realtime.management.doctor.probe import PROBE_ID
from apps.realtime.management.doctor.tab import Arrived, Failed, News, Opened, open_tab
from tests.unit.realtime.management.doctor.servers import socket_server


def frame(id: str, **data: Any) -> str:
    return json.dumps({"id": id, "data": data})


def run(talk: Callable[[ServerConnection], None], within_secs: float = 5) -> list[Opened | Arrived | Failed]:
    """What a tab at such a server tells, up to the end."""
    news: News = News()
    told: list[Opened | Arrived | Failed] = []
    with socket_server(talk) as door:
        open_tab(door, "the-token", "mine", news, within_secs)
        while not told or isinstance(told[-1], Opened):
            told.append(news.get(timeout=10))
        assert told[0].door == door
    return told


def let_in(connection: ServerConnection) -> None:
    connection.send(frame("AUTH REQUEST", reason="connect"))
    assert json.loads(connection.recv(timeout=5)) == {"id": "AUTH", "data": {"token": "the-token"}}
    connection.send(frame("AUTH OK", now=time.time() - 20))


def test_it_signs_in_echoes_heartbeats_and_waits_for_its_event() -> None:
    def talk(connection: ServerConnection) -> None:
        let_in(connection)
        connection.send("<3")
        assert connection.recv(timeout=5) == "<3"
        for other in (frame("x/Y"), frame(PROBE_ID, probe="another's"), frame(PROBE_ID, probe="mine")):
            connection.send(other)

    opened, arrived = run(talk)
    assert isinstance(opened, Opened)
    assert 19 < opened.behind_secs < 30
    assert isinstance(arrived, Arrived)


def closes(code: int) -> Callable[[ServerConnection], None]:
    def talk(connection: ServerConnection) -> None:
        let_in(connection)
        connection.close(code)

    return talk


def refuses(connection: ServerConnection) -> None:
    connection.send(frame("AUTH REQUEST"))
    connection.recv(timeout=5)
    connection.send(frame("AUTH FAILED", code="token_refused"))


@pytest.mark.parametrize(
    ("talk", "told", "advice"),
    [
        (refuses, "closes the socket with 4501 (auth failed)", "another REALTIME_SECRET"),
        (closes(4505), "closes the socket with 4505 (origin refused)", "ALLOWED_HOSTS"),
        (closes(4002), "closes the socket with 4002 (too slow)", "read the node's log"),
        (closes(1011), "closes the socket with 1011", "read the node's log"),
        (lambda connection: connection.send("{"), "opens no socket: JSONDecodeError", "see that it runs"),
        (lambda connection: connection.send("[]"), "opens no socket: TypeError", "see that it runs"),
    ],
)
def test_what_goes_wrong_is_told(talk: Callable[[ServerConnection], None], told: str, advice: str) -> None:
    *_, failed = run(talk)
    assert isinstance(failed, Failed)
    assert failed.finding.status is Status.FAIL
    assert told in failed.finding.found
    assert advice in failed.finding.advice


def test_a_node_that_says_nothing_and_none_at_all() -> None:
    def silent(connection: ServerConnection) -> None:
        # Until the doctor leaves.
        with suppress(ConnectionClosed):
            connection.recv(timeout=5)

    *_, failed = run(silent, 0.2)
    assert isinstance(failed, Failed)
    assert "TimeoutError" in failed.finding.found
    news: News = News()
    open_tab(Door.at("http://127.0.0.1:1"), "t", "p", news, 5)
    refused = news.get(timeout=10)
    assert isinstance(refused, Failed)
    assert "ConnectionRefusedError" in refused.finding.found
