"""The load generator reads frames however they are cut, and counts what is missing, twice or out of order."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server, socket
from typing import Any

import pytest

from bench.peers import events, wire
from bench.peers.talk import Talker

ROOT = Path(__file__).parents[3]
_UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class Server:
    """One browser of the load generator, and a server that says whatever a test wants."""

    def __init__(self, folder: Path, dialect: str, listener: socket) -> None:
        (folder / "tokens").write_text("token-of-user-1")
        port = str(listener.getsockname()[1])
        command = [sys.executable, "-m", "bench.peers.load", dialect, str(folder / "tokens"), "0", port]
        self.load = Talker(command, folder / "log", {}, ROOT)
        self.load.tell(do="connect", first=0, last=1, at_once=1)
        self.sock, _ = listener.accept()
        self.sock.settimeout(10)
        self.request = self.sock.recv(4096)

    def say(self, text: bytes) -> None:
        self.sock.sendall(wire.server_frame(text))

    def heard(self) -> bytes:
        """The text of the next frame of the browser."""
        head = self.sock.recv(2)
        size = head[1] & 0x7F
        if size == 126:
            size = int.from_bytes(self.sock.recv(2))
        assert self.sock.recv(4) == b"\0\0\0\0"
        return self.sock.recv(size)

    def report_of(self, received: int) -> dict[str, Any]:
        """The report once that much has come."""
        while (report := self.load.ask(do="report"))["received"] < received:
            pass
        return report


@pytest.fixture
def listener() -> Iterator[socket]:
    with closing(create_server(("127.0.0.1", 0))) as one:
        one.settimeout(10)
        yield one


@pytest.fixture
def plain(tmp_path: Path, listener: socket) -> Iterator[Server]:
    """Connected, without a word."""
    server = Server(tmp_path, "query", listener)
    server.sock.sendall(_UPGRADE)
    assert server.load.answer(10)["failures"] == []
    server.load.ask(do="reset", from_number=0)
    yield server
    server.load.close()
    server.sock.close()


@pytest.fixture
def v1(tmp_path: Path, listener: socket) -> Iterator[Server]:
    """Authenticated as a browser of Message Flow."""
    server = Server(tmp_path, "v1", listener)
    server.sock.sendall(_UPGRADE + wire.server_frame(b'{"id":"AUTH REQUEST"}'))
    assert json.loads(server.heard())["data"]["token"] == "token-of-user-1"
    streams = {"user.1": {"epoch": "e", "seq": 4, "state": "new"}}
    server.say(json.dumps({"id": "AUTH OK", "data": {"streams": streams}}).encode())
    assert server.load.answer(10)["states"] == {"new": 1}
    server.load.ask(do="reset", from_number=0)
    yield server
    server.load.close()
    server.sock.close()


def event(number: int) -> bytes:
    return json.dumps(events.data(number), separators=(",", ":")).encode()


def durable(number: int, seq: int) -> bytes:
    data = event(number).decode()
    return f'{{"id":"x","data":{data},"stream":"user.1","mid":"m","ts":1.0,"seq":{seq}}}'.encode()


def test_an_event_has_200_bytes() -> None:
    assert len(event(7)) == events.EVENT_BYTES


def test_user_and_token_are_in_the_request(plain: Server) -> None:
    assert plain.request.startswith(b"GET /websocket?user=1&topic=&token=token-of-user-1 HTTP/1.1\r\n")


def test_frames_are_counted_however_they_are_cut(plain: Server) -> None:
    stream = b"".join(wire.server_frame(event(number)) for number in range(40))
    for cut in range(0, len(stream), 77):
        plain.sock.send(stream[cut : cut + 77])
    assert plain.report_of(40)["wrong"] == 0
    late = plain.load.ask(do="late")
    assert 0 <= late["p50_ms"] <= late["p99_ms"] <= late["p99.9_ms"] < 10_000


def test_what_comes_twice_or_out_of_order_is_wrong_and_does_not_count(plain: Server) -> None:
    for number in (1, 2, 2, 1, 3):
        plain.say(event(number))
    assert plain.report_of(3) | {"cpu_secs": 0, "last_at": 0} == {
        "received": 3,
        "wrong": 2,
        "open": 1,
        "hellos": 1,
        "lost_sockets": 0,
        "cpu_secs": 0,
        "last_at": 0,
        "failures": [],
    }


def test_what_belongs_to_earlier_work_does_not_count(plain: Server) -> None:
    plain.load.ask(do="reset", from_number=2)
    for number in range(4):
        plain.say(event(number))
    assert plain.report_of(2)["received"] == 2


def test_a_ping_is_answered_whatever_is_in_it(plain: Server) -> None:
    plain.sock.sendall(b"\x89\x03~\0~" + wire.server_frame(event(1)))
    assert plain.heard() == b"~\0~"
    assert plain.report_of(1)["wrong"] == 0


def test_a_refused_browser_is_told_of(tmp_path: Path, listener: socket) -> None:
    server = Server(tmp_path, "query", listener)
    server.sock.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    assert "403" in server.load.answer(10)["failures"][0]
    server.load.close()
    server.sock.close()


def test_events_are_acknowledged_as_a_page_does(v1: Server) -> None:
    for number in range(70):
        v1.say(event(number))
    heard = json.loads(v1.heard())
    assert heard["id"] == "ACK"
    assert heard["data"]["n"] >= 64


def test_heartbeats_come_back(v1: Server) -> None:
    v1.say(b"<3")
    assert v1.heard() == b"<3"


@pytest.mark.parametrize(("seqs", "wrong"), [((5, 6), 0), ((5, 7), 1), ((4,), 1)])
def test_a_durable_event_has_to_be_the_next_one(v1: Server, seqs: tuple[int, ...], wrong: int) -> None:
    for number, seq in enumerate(seqs):
        v1.say(durable(number, seq))
    assert v1.report_of(len(seqs))["wrong"] == wrong


def test_a_browser_comes_back_with_its_cursors(v1: Server, listener: socket) -> None:
    v1.say(durable(0, 5))
    v1.report_of(1)
    v1.sock.close()
    while v1.load.ask(do="report")["open"]:
        pass
    v1.load.tell(do="connect", first=0, last=1, at_once=1)
    v1.sock, _ = listener.accept()
    v1.sock.settimeout(10)
    v1.sock.recv(4096)
    v1.sock.sendall(_UPGRADE + wire.server_frame(b'{"id":"AUTH REQUEST"}'))
    assert json.loads(v1.heard())["data"]["since"] == {"user.1": {"epoch": "e", "seq": 5}}


def test_the_bare_loop_serves_the_load_generator(tmp_path: Path) -> None:
    """The floor and the publisher, end to end: every event once."""
    from ops.services import free_port, wait_for
    from ops.services.ports import answers

    port, feed = free_port(), free_port()
    env = {"FEED_PORT": str(feed)}
    floor = [sys.executable, "-m", "bench.peers.servers.floor_send", str(port)]
    (tmp_path / "tokens").write_text("a b c")
    with subprocess.Popen(floor, cwd=ROOT, env=env) as server:
        try:
            wait_for(lambda: answers(port), 20, "the floor answers")
            load_command = [sys.executable, "-m", "bench.peers.load", "query", str(tmp_path / "tokens"), "0", str(port)]
            publisher_command = [sys.executable, "-m", "bench.peers.publisher", "floor_send"]
            load = Talker(load_command, tmp_path / "load", {}, ROOT)
            publisher = Talker(publisher_command, tmp_path / "publisher", env, ROOT)
            load.ask(do="connect", first=0, last=3, at_once=2)
            publisher.ask(do="publish", to="all", of=1, count=2, rate=0)
            publisher.ask(do="publish", to="user", of=3, count=4, rate=1000)
            while (report := load.ask(do="report"))["received"] < 2 * 3 + 4:
                pass
            assert report["wrong"] == 0
            load.close()
            publisher.close()
        finally:
            server.kill()
