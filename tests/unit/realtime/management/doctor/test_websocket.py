"""The doctor's WebSocket client, against a server by another hand (RFC 6455)."""

import time
from collections.abc import Callable
from socket import socket

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from apps.realtime.management.doctor.door import Door
from apps.realtime.management.doctor.websocket import Closed, NoWebSocket, WebSocket
from tests.unit.realtime.management.doctor.servers import raw_server, socket_server


def soon(secs: float = 5) -> float:
    return time.monotonic() + secs


def opened(door: Door) -> WebSocket:
    return WebSocket.open(door, "/websocket", "realtime.v1", soon())


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def test_texts_of_every_length_go_both_ways() -> None:
    with socket_server(echo) as door:
        client = opened(door)
        for text in ("", "é", "x" * 125, "x" * 126, "x" * 60_000):
            client.send(text, soon())
            assert client.receive(soon()) == text
        client.close()


def test_the_server_learns_path_host_origin_and_the_goodbye() -> None:
    seen: list[object] = []

    def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.extend((connection.request.path, connection.request.headers["Host"], connection.request.headers["Origin"]))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=5)
        seen.append(closed.value.rcvd and closed.value.rcvd.code)

    with socket_server(talk) as door:
        opened(door).close()
    assert seen == ["/websocket", door.host, f"http://{door.host}", 1000]


def test_fragments_and_pings_and_long_frames() -> None:
    answered: list[bool] = []

    def talk(connection: ServerConnection) -> None:
        pong = connection.ping()
        connection.send(iter(["a", "b", "c" * 70_000]))
        answered.append(pong.wait(5))

    with socket_server(talk) as door:
        client = opened(door)
        assert client.receive(soon()) == "ab" + "c" * 70_000
        with pytest.raises(Closed) as closed:
            client.receive(soon())
        client.close()
    assert closed.value.code == 1000
    assert answered == [True]


def test_the_code_of_a_close() -> None:
    with socket_server(lambda connection: connection.close(4505)) as door:
        client = opened(door)
        with pytest.raises(Closed) as closed:
            client.receive(soon())
        client.close()
    assert closed.value.code == 4505


def test_a_server_that_does_not_speak_our_dialect() -> None:
    def other(connection: ServerConnection) -> None:
        """Says nothing."""

    with socket_server(other, "other.v1") as door, pytest.raises(NoWebSocket):
        opened(door)


SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: realtime.v1\r\n\r\n"
)


def says(answer: bytes) -> Callable[[socket], None]:
    def talk(connection: socket) -> None:
        connection.recv(10_000)
        connection.sendall(answer)

    return talk


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "it answers HTTP/1.1 404 Not Found"),
        (SWITCHING, "not to this handshake"),
        (b"x" * 20_000, "an endless header"),
    ],
)
def test_who_answers_otherwise_is_no_node(answer: bytes, told: str) -> None:
    with raw_server(says(answer)) as door, pytest.raises(NoWebSocket, match=told):
        opened(door)


def test_who_hangs_up_and_who_says_nothing() -> None:
    with raw_server(says(b"")) as door, pytest.raises(Closed) as closed:
        opened(door)
    assert closed.value.code == 1006
    silent = raw_server(lambda connection: connection.recv(10_000) and connection.recv(1))
    with silent as door, pytest.raises(TimeoutError):
        WebSocket.open(door, "/websocket", "realtime.v1", soon(0.1))


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b"\x81\x81\0\0\0\0x", "never masked"),
        (b"\x81\x7f" + (2**40).to_bytes(8, "big"), "a frame of"),
        ((b"\x01\x7f" + (2**19).to_bytes(8, "big") + b"x" * 2**19) * 3, "a message of more than"),
    ],
)
def test_frames_that_no_server_may_send(frame: bytes, told: str) -> None:
    with raw_server(lambda connection: connection.sendall(frame)) as door:
        client = WebSocket(door.connect(soon()))
        with pytest.raises(NoWebSocket, match=told):
            client.receive(soon())
        client.close()


def test_a_close_without_a_code() -> None:
    with raw_server(lambda connection: connection.sendall(b"\x88\x00")) as door:
        client = WebSocket(door.connect(soon()))
        with pytest.raises(Closed) as closed:
            client.receive(soon())
        client.close()
    assert closed.value.code == 1005
