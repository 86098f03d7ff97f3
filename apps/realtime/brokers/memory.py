"""The broker inside the process, for a laptop and for tests (docs/brokers.md).

Publisher and listener meet in an `Exchange` that belongs to the process. A second process, such as `manage.py shell`,
reaches the server through a local socket, if the settings name one.
"""

import asyncio
import logging
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .. import metrics
from ..core.events import FRAME_MAX_BYTES, DroppedBody, Event, parse_body
from ..core.names import ALL, Stream, is_routing_key
from ..core.signature import Signer
from .base import OnEvent, OnReopened, Settled, ignore_reopened
from .throttled import ThrottledLog

logger = logging.getLogger(__name__)

# A datagram is the routing key, a NUL and the body. Behind the key of what is signed stand its epoch, seq and
# signature, with blanks, which no key holds.
_DATAGRAM_MAX_BYTES: Final = FRAME_MAX_BYTES + 512
_SEND_TIMEOUT_SECS: Final = 0.2


class Exchange:
    """Hands events from any thread to the listeners of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: tuple[MemoryListener, ...] = ()

    def attach(self, listener: "MemoryListener") -> None:
        """Begin to hand events to a listener."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def detach(self, listener: "MemoryListener") -> None:
        """Stop handing events to it."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

    def route(self, event: Event) -> bool:
        """Hand the event over; False when nobody in this process listens."""
        listeners = self._listeners
        for listener in listeners:
            listener.post(event)
        return bool(listeners)


class MemoryPublisher:
    """Publishes to this process's exchange, or to the server's local socket where no node runs in this one."""

    def __init__(self, exchange: Exchange, local_socket: str | None, signer: Signer) -> None:
        self._exchange = exchange
        self._local_socket = local_socket
        self._signer = signer
        self._log = ThrottledLog(logger)
        # Why the last event reached nobody; None where it did.
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        return self._problem

    def start(self) -> None:
        """Nothing to connect."""

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        # A name of this call's own: another thread may publish in between.
        problem = self._problem = None if self._exchange.route(event) else self._send(event)
        if problem is None:
            metrics.PUBLISHED.labels("confirmed").inc()
        elif not event.is_signed:
            metrics.PUBLISH_DROPPED.labels("no_server").inc()
            self._log.warning("Event %r for %s reached nobody: %s", event.mid, event.stream, problem)
        if settled is not None:
            settled(event, problem is None)

    def flush(self, timeout_secs: float) -> bool:
        return True

    def close(self, timeout_secs: float) -> None:
        """Nothing to disconnect."""

    def _send(self, event: Event) -> str | None:
        if self._local_socket is None:
            return "no AMQP_URL is set and no node runs in this process"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _DATAGRAM_MAX_BYTES)
            # The kernel queues some ten datagrams, so a burst has to wait for the server to read; one that does not
            # read must not hold the caller up.
            sender.settimeout(_SEND_TIMEOUT_SECS)
            try:
                sender.sendto(self._datagram(event), self._local_socket)
            except OSError as error:
                return f"no server takes it at {self._local_socket} ({error.strerror or error})"
        return None

    def _datagram(self, event: Event) -> bytes:
        body = event.frame.encode()
        head: str = event.stream
        if event.is_signed:
            head += f" {event.epoch} {event.seq} {self._signer.sign(event.epoch, body)}"
        return head.encode() + b"\0" + body


class MemoryListener:
    """Receives in the node's event loop what this machine's processes publish."""

    def __init__(self, exchange: Exchange, local_socket: str | None, signer: Signer) -> None:
        self._exchange = exchange
        self._local_socket = local_socket
        self._signer = signer
        self._streams: set[Stream] = {ALL}
        # Set by `start`.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_event: OnEvent | None = None
        # None where the settings name no local socket.
        self._receiver: socket.socket | None = None

    @property
    def problem(self) -> str | None:
        return None if self._loop is not None else "not started"

    def start(self, on_event: OnEvent, on_reopened: OnReopened = ignore_reopened) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_event = on_event
        self._exchange.attach(self)
        if self._local_socket is not None:
            self._receiver = _bound(self._local_socket)
            self._loop.add_reader(self._receiver, self._receive)

    async def open(self, stream: Stream) -> None:
        self._streams.add(stream)

    def release(self, stream: Stream) -> None:
        if stream != ALL:
            self._streams.discard(stream)

    async def close(self) -> None:
        self._exchange.detach(self)
        if self._receiver is not None and self._loop is not None and self._local_socket is not None:
            self._loop.remove_reader(self._receiver)
            self._receiver.close()
            Path(self._local_socket).unlink(missing_ok=True)

    def post(self, event: Event) -> None:
        """Take an event from any thread."""
        assert self._loop is not None
        # The server is shutting down when its loop is closed: nobody is left to hear it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, event)

    def _deliver(self, event: Event) -> None:
        metrics.RECEIVED.inc()
        if event.stream in self._streams:
            assert self._on_event is not None
            self._on_event(event)

    def _receive(self) -> None:
        assert self._receiver is not None
        with suppress(BlockingIOError):
            while True:
                head, _, body = self._receiver.recv(_DATAGRAM_MAX_BYTES + 1).partition(b"\0")
                stream, *numbering = head.decode(errors="replace").split(" ")
                try:
                    if not is_routing_key(stream):
                        raise DroppedBody("bad_routing_key")
                    event = parse_body(body, Stream(stream), _headers(numbering), self._signer.is_genuine)
                except DroppedBody as dropped:
                    metrics.BODIES_DROPPED.labels(dropped.reason).inc()
                    continue
                self._exchange.route(event)


def _headers(numbering: list[str]) -> dict[str, Any]:
    if not numbering:
        return {}
    # Whatever is wrong with it, it has no genuine signature then.
    epoch, seq, signature = [*numbering, "", "", ""][:3]
    return {"epoch": epoch, "seq": int(seq) if re.fullmatch("[0-9]{1,19}", seq) else None, "sig": signature}


def _bound(path: str) -> socket.socket:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setblocking(False)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    receiver.bind(path)
    # Whoever may write to it may push to anybody.
    Path(path).chmod(0o600)
    return receiver
