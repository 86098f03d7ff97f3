"""Servers of a test's own, on a free port of loopback (docs/doctor.md)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import AF_INET, SOCK_STREAM, create_server, socket

from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from apps.realtime.management.doctor.door import Door


@contextmanager
def raw_server(answer: Callable[[socket], object]) -> Iterator[Door]:
    """Takes one connection and does with it what `answer` does."""
    with create_server(("127.0.0.1", 0), family=AF_INET) as server:
        assert server.type == SOCK_STREAM

        def work() -> None:
            connection, _ = server.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield Door.at(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join(10)


@contextmanager
def http_server(answers: dict[str, tuple[int, str]]) -> Iterator[Door]:
    """Answers paths with a status and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, "not here"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to say."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield Door.at(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join(10)


@contextmanager
def socket_server(talk: Callable[[ServerConnection], None], subprotocol: str = "realtime.v1") -> Iterator[Door]:
    """A WebSocket server by another hand than ours; `talk` is all it says."""
    with serve(talk, "127.0.0.1", 0, subprotocols=[Subprotocol(subprotocol)]) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Door.at(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
        server.shutdown()
        thread.join(10)
