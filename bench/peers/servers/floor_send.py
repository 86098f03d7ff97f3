"""The bare loop: one `socket.send` for each delivery, and nothing else (docs/performance.md).

`python -m bench.peers.servers.floor_send PORT`. It accepts whoever comes; events come by `feed`.
"""

import base64
import hashlib
import re
import select
import socket
import sys

from bench.peers.servers import feed
from bench.peers.wire import server_frame

sender = feed.sender

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _listen(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(1024)
    return server


def _upgrade(sock: socket.socket, request: bytes) -> str:
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    user = re.search(rb"[?&]user=(\w+)", request)
    assert key is not None
    assert user is not None
    accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest()).decode()  # noqa: S324 - RFC 6455
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    sock.send("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())
    return user[1].decode()


def main() -> None:
    """Serve until killed."""
    browsers, lines = _listen(int(sys.argv[1])), _listen(feed.port())
    poll = select.epoll()
    for server in (browsers, lines):
        poll.register(server, select.EPOLLIN)
    fresh: dict[int, socket.socket] = {}
    users: dict[str, socket.socket] = {}
    owners: dict[int, str] = {}
    source: socket.socket | None = None
    rest = b""
    while True:
        for fd, _ in poll.poll():
            if fd == browsers.fileno():
                sock, _ = browsers.accept()
                fresh[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
            elif fd == lines.fileno():
                source, _ = lines.accept()
                poll.register(source, select.EPOLLIN)
            elif source is not None and fd == source.fileno():
                got = source.recv(1 << 16)
                if not got:
                    return
                *complete, rest = (rest + got).split(b"\n")
                for line in complete:
                    to, key, text = line.split(b" ", 2)
                    frame = server_frame(text)
                    if to == b"all":
                        for sock in users.values():
                            sock.send(frame)
                    else:
                        users[key.decode()].send(frame)
            elif fd in fresh:
                sock = fresh.pop(fd)
                request = sock.recv(1 << 16)
                if request:
                    user = owners[fd] = _upgrade(sock, request)
                    users[user] = sock
                else:
                    sock.close()
            else:
                poll.unregister(fd)
                users.pop(owners.pop(fd)).close()


if __name__ == "__main__":
    main()
