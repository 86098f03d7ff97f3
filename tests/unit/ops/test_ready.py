"""Waiting until a process is ready (docs/operations.md)."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import ready


class Process:
    """Answers `/readyz` with each of `answers` in turn, then with the last one; notes what it was asked."""

    def __init__(self, listening: socket.socket, *answers: bytes) -> None:
        self.asked: list[bytes] = []
        self._listening = listening
        self._answers = list(answers)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client:
                self.asked.append(client.recv(1_000))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                client.sendall(b"HTTP/1.1 " + answer)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


READY = b"200 OK\r\nContent-Length: 0\r\n\r\n"
AWAY = b"503 Service Unavailable\r\nContent-Length: 11\r\n\r\nbroker away"


@pytest.fixture(params=["port", "socket"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    if request.param == "port":
        with socket.create_server(("127.0.0.1", 0)) as listening:
            yield listening, str(listening.getsockname()[1])
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "web.sock"))
            listening.listen()
            yield listening, str(tmp_path / "web.sock")


def test_it_waits_until_the_process_says_so(where: tuple[socket.socket, str]) -> None:
    process = Process(where[0], AWAY, READY)
    assert ready.wait("site.example", where[1], 30) is None
    process.close()
    assert len(process.asked) == 2
    assert process.asked[0].startswith(b"GET /readyz ")
    assert b"\r\nHost: site.example\r\n" in process.asked[0]


def test_it_says_what_is_in_the_way(where: tuple[socket.socket, str], tmp_path: Path) -> None:
    process = Process(where[0], AWAY)
    assert ready.wait("site.example", where[1], 0) == "503 broker away"
    process.close()
    assert "refused" in (ready.problem("site.example", where[1]) or "")
    assert "FileNotFound" in (ready.problem("site.example", str(tmp_path / "none.sock")) or "")
