"""All the browsers of a system in one process: an epoll loop that reads, counts and times (docs/performance.md).

`python -m bench.peers.load DIALECT TOKENS PORT…`. Takes one command a line, JSON, and answers each with one line:

    {"do": "connect", "first": 0, "last": 500, "at_once": 40}   all of them authenticated
    {"do": "reset", "from_number": 0}                           count events with this number or a later one, from 0 on
    {"do": "report"}                                            what came since
    {"do": "late"}                                              and how late, in ms
"""

import json
import os
import select
import socket
import sys
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any, Final

from bench.peers.dialects import DIALECTS, Dialect
from bench.peers.events import MARK, NUMBER, SEQ, SEQ_WITHIN, STREAM, TIME
from bench.peers.wire import CLOSE, FINAL_TEXT, PING, PONG, frame

# As static/js/session.js.
ACK_EVERY_EVENTS: Final = 64
ACK_AFTER_SECS: Final = 5.0
_BUFFER_BYTES: Final = 1 << 20
_POLL_SECS: Final = 0.5


class Connection:
    """One socket."""

    __slots__ = (
        "ack_at",
        "acked",
        "cursors",
        "is_ready",
        "last",
        "load",
        "received",
        "rest",
        "sock",
        "states",
        "token",
        "topic",
        "upgraded",
        "user",
    )

    def __init__(self, load: "Load", user: int, token: str, topic: str) -> None:
        self.load = load
        self.user = user
        self.token = token
        self.topic = topic
        self.cursors: dict[str, Any] = {}
        self.states: list[str] = []
        self.last = -1
        self.reopened()

    def reopened(self) -> None:
        """Everything that belongs to one connection begins anew."""
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.rest = b""
        self.upgraded = self.is_ready = False
        self.received = self.acked = 0
        self.ack_at = 0.0

    def say(self, text: bytes) -> None:
        """Send a text frame."""
        self.sock.send(frame(text))

    def ready(self) -> None:
        """The client is authenticated."""
        if not self.is_ready:
            self.is_ready = True
            self.load.became_ready()

    def failed(self, why: str) -> None:
        """The server will not have it."""
        self.load.failures.append(f"user {self.user}: {why}")
        self.load.became_ready()


class Load:
    """The loop."""

    def __init__(self, dialect: Dialect, tokens: list[str], topics: int, ports: list[int]) -> None:
        self._dialect = dialect
        self._tokens = tokens
        self._topics = topics
        self._ports = ports
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._all: list[Connection] = []
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._unacked: deque[tuple[float, Connection]] = deque()
        self._waiting: deque[Connection] = deque()
        self._in_flight = 0
        self._began = 0.0
        self._count = self._wrong = self._lost_sockets = 0
        self._late = array("d")
        self._from_number = 0
        self._last_at = 0.0
        self.failures: list[str] = []

    def run(self) -> None:
        """Serve commands until the standard input ends."""
        os.set_blocking(0, False)
        self._epoll.register(0, select.EPOLLIN)
        commands = b""
        while True:
            for fd, mask in self._epoll.poll(_POLL_SECS):
                connection = self._connections.get(fd)
                if connection is None:
                    got = os.read(0, 65536)
                    if not got:
                        return
                    *lines, commands = (commands + got).split(b"\n")
                    for line in lines:
                        self._obey(json.loads(line))
                elif connection.upgraded:
                    self._read(connection)
                else:
                    self._open(connection, mask)
            self._acknowledge_late()

    # Commands

    def _obey(self, command: dict[str, Any]) -> None:
        match command.pop("do"):
            case "connect":
                self._connect(**command)
            case "reset":
                self._from_number = command["from_number"]
                self._count = self._wrong = 0
                self._late = array("d")
                _answer({})
            case "report":
                _answer(
                    {
                        "received": self._count,
                        "wrong": self._wrong,
                        "open": sum(connection.is_ready for connection in self._all),
                        "last_at": self._last_at,
                        "hellos": sum(connection.last >= 0 for connection in self._all),
                        "lost_sockets": self._lost_sockets,
                        "cpu_secs": time.process_time(),
                        "failures": self.failures[:3],
                    }
                )
            case "late":
                _answer(_percentiles(self._late))

    def _connect(self, first: int, last: int, at_once: int) -> None:
        """Connect users that have no socket (any more)."""
        while len(self._all) < last:
            user = len(self._all)
            topic = f"bench-{user % self._topics}" if self._topics else ""
            self._all.append(Connection(self, user + 1, self._tokens[user], topic))
        self.failures = []
        self._waiting.extend(connection for connection in self._all[first:last] if not connection.is_ready)
        self._expected = len(self._waiting)
        self._done = self._in_flight = 0
        self._began = time.perf_counter()
        for _ in range(min(at_once, len(self._waiting))):
            self._start_next()

    def _start_next(self) -> None:
        connection = self._waiting.popleft()
        connection.reopened()
        port = self._ports[connection.user % len(self._ports)]
        connection.sock.connect_ex(("127.0.0.1", port))
        self._connections[connection.sock.fileno()] = connection
        self._epoll.register(connection.sock.fileno(), select.EPOLLOUT)

    def became_ready(self) -> None:
        """One more is connected: the next one may begin."""
        self._done += 1
        if self._waiting:
            self._start_next()
        elif self._done == self._expected:
            secs = time.perf_counter() - self._began
            states: dict[str, int] = {}
            for connection in self._all:
                for state in connection.states:
                    states[state] = states.get(state, 0) + 1
            _answer({"secs": secs, "failures": self.failures[:3], "states": states})

    # Sockets

    def _open(self, connection: Connection, mask: int) -> None:
        if mask & select.EPOLLOUT and not mask & (select.EPOLLERR | select.EPOLLHUP):
            port = self._ports[connection.user % len(self._ports)]
            request = self._dialect.handshake(port, connection.user, connection.token, connection.topic)
            connection.sock.send(request)
            self._epoll.modify(connection.sock.fileno(), select.EPOLLIN)
            return
        try:
            got = connection.sock.recv(65536)
        except OSError:
            got = b""
        if not got:
            self._drop(connection)
            connection.failed("refused")
            return
        head, end, rest = (connection.rest + got).partition(b"\r\n\r\n")
        if not end:
            connection.rest = head
            return
        if b" 101 " not in head.split(b"\r\n")[0]:
            self._drop(connection)
            connection.failed(head.decode("latin-1"))
            return
        connection.upgraded = True
        connection.rest = b""
        self._dialect.opened(connection)
        self._buffer[: len(rest)] = rest
        self._parse(connection, len(rest))

    def _read(self, connection: Connection) -> None:
        rest = connection.rest
        kept = len(rest)
        try:
            if kept:
                self._buffer[:kept] = rest
                size = connection.sock.recv_into(self._view[kept:])
            else:
                size = connection.sock.recv_into(self._buffer)
        except OSError:
            size = 0
        if size:
            self._parse(connection, kept + size)
        else:
            self._drop(connection)

    def _parse(self, connection: Connection, end: int) -> None:
        buffer = self._buffer
        now = time.time()
        position = 0
        while end - position >= 2:
            length = buffer[position + 1]
            start = position + 2
            if length == 126:
                start = position + 4
                length = buffer[position + 2] << 8 | buffer[position + 3]
            elif length == 127:
                start = position + 10
                length = int.from_bytes(buffer[position + 2 : start])
            stop = start + length
            if stop > end:
                break
            # A ping holds any bytes.
            mark = buffer.find(MARK, start, stop) if buffer[position] == FINAL_TEXT else -1
            if mark >= 0:
                number = int(buffer[mark + NUMBER.start : mark + NUMBER.stop])
                connection.received += 1
                if number > connection.last:
                    connection.last = number
                    if number >= self._from_number:
                        self._count += 1
                        self._last_at = now
                        self._late.append(now - float(buffer[mark + TIME.start : mark + TIME.stop]))
                    at = buffer.rfind(SEQ, stop - SEQ_WITHIN, stop)
                    if at >= 0:
                        self._apply(connection, bytes(buffer[mark:at]), int(buffer[at + len(SEQ) : stop - 1]))
                else:
                    self._wrong += 1
            else:
                self._told(connection, buffer[position] & 0xF, bytes(buffer[start:stop]))
            position = stop
        connection.rest = bytes(buffer[position:end])
        if self._dialect.acknowledges and connection.received > connection.acked:
            self._acknowledge(connection, now)

    def _apply(self, connection: Connection, frame: bytes, seq: int) -> None:
        """Move the cursor of a durable event's stream, as a page does; anything but the next event is wrong."""
        begins = frame.rindex(STREAM) + len(STREAM)
        cursor = connection.cursors[frame[begins : frame.index(b'"', begins)].decode()]
        self._wrong += seq != cursor["seq"] + 1
        cursor["seq"] = max(cursor["seq"], seq)

    def _told(self, connection: Connection, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            connection.sock.send(frame(payload, PONG))
        elif opcode == CLOSE:
            self._lost_sockets += 1
        elif opcode != PONG:
            self._dialect.told(connection, payload)

    def _drop(self, connection: Connection) -> None:
        self._epoll.unregister(connection.sock.fileno())
        del self._connections[connection.sock.fileno()]
        connection.sock.close()
        connection.is_ready = False

    # Acknowledgements

    def _acknowledge(self, connection: Connection, now: float) -> None:
        if connection.received - connection.acked >= ACK_EVERY_EVENTS:
            self._send_ack(connection)
        elif not connection.ack_at:
            connection.ack_at = now + ACK_AFTER_SECS
            self._unacked.append((connection.ack_at, connection))

    def _acknowledge_late(self) -> None:
        now = time.time()
        while self._unacked and self._unacked[0][0] <= now:
            due, connection = self._unacked.popleft()
            if connection.ack_at == due and connection.is_ready:
                self._send_ack(connection)

    def _send_ack(self, connection: Connection) -> None:
        connection.acked = connection.received
        connection.ack_at = 0.0
        connection.say(b'{"id":"ACK","data":{"n":%d}}' % connection.received)


def _percentiles(secs: "array[float]") -> dict[str, float]:
    ordered = sorted(secs)
    if not ordered:
        return {}
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "p99.9_ms": 0.999}
    return {name: 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)] for name, share in at.items()}


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Run."""
    dialect, tokens, topics, *ports = sys.argv[1:]
    Load(DIALECTS[dialect], Path(tokens).read_text().split(), int(topics), list(map(int, ports))).run()


if __name__ == "__main__":
    main()
