"""Publishes from any process without ever making a caller wait (docs/publishing.md).

One thread a process runs a pika connection with pipelined publisher confirms. Callers append to a bounded buffer and go
on. Every wait has a deadline: connecting, an alarm that blocks the connection, a confirm.
"""

import atexit

# Looking a host up needs it, and would import it in a thread. A fork in that moment, as of a preloaded gunicorn, left
# the child with an import that nobody ends: its publisher never connected.
import encodings.idna  # noqa: F401
import logging
import multiprocessing.util
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from ... import metrics
from ...core.events import Event
from ...core.signature import Signer
from ..base import Settled
from ..throttled import ThrottledLog
from .buffer import EventBuffer, Outgoing
from .hosts import PUBLISHER, Hosts
from .topology import EXCHANGE, EXCHANGE_TYPE, with_query

logger = logging.getLogger(__name__)

# Unconfirmed events on the wire: enough to fill the pipeline (about 20,000 confirmed events a second were seen with
# this window), few enough that a broken connection puts little in doubt.
WINDOW_EVENTS: Final = 2_000
# Published in one turn of the loop, so that confirms and heartbeats get theirs.
BATCH_EVENTS: Final = 200
CONNECT_TIMEOUT_SECS: Final = 5.0
# A healthy broker confirms within milliseconds, a busy one within a few hundred; a frozen one never does.
CONFIRM_TIMEOUT_SECS: Final = 10.0
# RabbitMQ blocks publishers while its memory or disk alarm is on. A new connection may reach another cluster node.
BLOCKED_TIMEOUT_SECS: Final = 60.0
_CHECK_EVERY_SECS: Final = 1.0
EXIT_FLUSH_SECS: Final = 2.0
NOT_CONNECTED: Final = "not connected yet"
# A polite goodbye; the thread is a daemon and a dead peer must not hold up the exit.
_STOP_TIMEOUT_SECS: Final = 0.5


class RabbitPublisher:
    """The publisher of one process. Its thread starts with the first event, in the process that publishes it.

    Args:
        urls: `amqp://` or `amqps://`, of each host of the broker.
    """

    _lock: threading.Lock
    _buffer: EventBuffer
    # None until the first event.
    _worker: "_Worker | None"

    def __init__(self, urls: Sequence[str], *, heartbeat_secs: int, signer: Signer) -> None:
        self._signer = signer
        self._parameters = {url: _parameters(url, heartbeat_secs) for url in urls}
        self._reset()
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _reset_if_alive(this))
        atexit.register(_close_if_alive, this)

    @property
    def problem(self) -> str | None:
        return self._worker.problem if self._worker is not None else NOT_CONNECTED

    def start(self) -> None:
        self._started()

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        if self._buffer.append(Outgoing(event, settled)):
            (self._worker or self._started()).wake()

    def flush(self, timeout_secs: float) -> bool:
        return self._buffer.wait_empty(timeout_secs)

    def close(self, timeout_secs: float) -> None:
        worker, flushed = self._worker, self.flush(timeout_secs)
        if worker is None:
            return
        if not flushed:
            left = self._buffer.abandon()
            if left:
                metrics.PUBLISH_DROPPED.labels("exit").inc(left)
                logger.warning("%d events were not confirmed by %s before exit", left, worker.address)
        self._worker = None
        worker.stop()

    def _reset(self) -> None:
        # After a fork the thread, its socket and whatever waited belong to the parent alone; a lock that another of
        # the parent's threads held would stay locked here for ever.
        self._lock = threading.Lock()
        self._buffer = EventBuffer()
        self._worker = None

    def _started(self) -> "_Worker":
        with self._lock:
            if self._worker is None:
                self._worker = _Worker(self._parameters, self._buffer, self._signer)
                self._worker.start()
                # Children of multiprocessing, Celery's among them, end without atexit.
                multiprocessing.util.Finalize(None, _close_if_alive, (weakref.ref(self),), exitpriority=10)
            return self._worker


def _reset_if_alive(reference: "weakref.ref[RabbitPublisher]") -> None:
    publisher = reference()
    if publisher is not None:
        publisher._reset()


def _close_if_alive(reference: "weakref.ref[RabbitPublisher]") -> None:
    publisher = reference()
    if publisher is not None:
        publisher.close(EXIT_FLUSH_SECS)


class _Worker(threading.Thread):
    """The thread. Everything below `run` happens in it; `wake` and `stop` may be called from anywhere."""

    def __init__(self, parameters: Mapping[str, pika.URLParameters], buffer: EventBuffer, signer: Signer) -> None:
        super().__init__(name="message-flow-publisher", daemon=True)
        self.problem: str | None = NOT_CONNECTED
        self._parameters = parameters
        self._buffer = buffer
        self._signer = signer
        self._hosts = Hosts(tuple(parameters), PUBLISHER)
        self._log = ThrottledLog(logger)
        self._stopping = False
        # Guards against one wake-up per event: set by the first caller, cleared when the loop turns to the buffer.
        self._woken = False
        self._ioloop: Any = IOLoop()
        self._connection: SelectConnection | None = None
        self._channel: Channel | None = None
        self._may_declare = True
        # True from a channel that the broker closed over an event to the next confirm: a new channel proves nothing.
        self._refused = False
        self._blocked = False
        # What is on the wire and unconfirmed, oldest first: delivery tag, time, event.
        self._unconfirmed: deque[tuple[int, float, Outgoing]] = deque()
        self._tag = 0
        # 1 until the first confirm of a connection: the first publish on a link that is dead already goes nowhere.
        self._window = 1

    @property
    def address(self) -> str:
        return self._hosts.address

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._ioloop.add_callback_threadsafe(self._pump)

    def stop(self) -> None:
        self._stopping = True
        self._ioloop.add_callback_threadsafe(self._shut_down)
        self.join(_STOP_TIMEOUT_SECS)

    def run(self) -> None:
        self._ioloop.call_later(_CHECK_EVERY_SECS, self._check_deadlines)
        self._connect()
        while not self._stopping:
            try:
                self._ioloop.start()
            except Exception:
                # A defect in a callback must not silence the process: drop the connection and go on.
                logger.exception("The publisher's loop failed; reconnecting")
                self._abort("internal error")
        self._ioloop.close()

    # Connecting ----------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._stopping:
            return
        try:
            self._connection = SelectConnection(
                self._parameters[self._hosts.url],
                on_open_callback=self._opened,
                on_open_error_callback=self._failed,
                on_close_callback=self._failed,
                custom_ioloop=self._ioloop,
            )
        except Exception as error:  # no callback follows
            self._report(error)
            self._ioloop.call_later(self._hosts.next_secs(), self._connect)

    def _opened(self, connection: SelectConnection) -> None:
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._open_channel()

    def _open_channel(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._channel_closed)
        # A user that may only write to the exchange cannot declare it: then the operator has.
        channel.exchange_declare(
            EXCHANGE,
            EXCHANGE_TYPE,
            durable=True,
            passive=not self._may_declare,
            callback=lambda _: self._exchange_ready(channel),
        )

    def _exchange_ready(self, channel: Channel) -> None:
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Channel) -> None:
        self._channel = channel
        self._tag = 0
        self._window = 1
        # With nothing to send nothing would ever prove it.
        if not self._refused or not self._buffer.waiting:
            self._works()
        self._pump()

    def _works(self) -> None:
        self._refused = False
        self.problem = None
        self._hosts.show(up=True)
        logger.info("Publishing to %s", self.address)

    def _channel_closed(self, channel: Channel, error: Exception) -> None:
        connection = self._connection
        if connection is None or not connection.is_open:
            return  # the connection's own callback follows
        if getattr(error, "reply_code", None) == 403 and self._channel is None and self._may_declare:
            self._may_declare = False
            self._open_channel()
            return
        self._lose_unconfirmed()
        self._refused |= self._channel is not None
        self._channel = None
        self._report(error)
        self._ioloop.call_later(self._hosts.retry_secs(), self._open_channel)

    def _failed(self, connection: SelectConnection, error: BaseException | str) -> None:
        if connection is not self._connection:
            return
        self._lose_unconfirmed()
        self._channel = self._connection = None
        self._blocked = False
        self._report(error)
        if not self._stopping:
            self._ioloop.call_later(self._hosts.next_secs(), self._connect)

    def _abort(self, reason: str) -> None:
        """Drop a connection whose peer does not answer: closing it politely would wait for that peer."""
        connection = self._connection
        if connection is None:
            return
        self._failed(connection, reason)
        try:
            connection._terminate_stream(  # type: ignore[attr-defined]
                pika.exceptions.AMQPHeartbeatTimeout(reason)
            )
        except Exception:
            logger.debug("Tearing down the connection failed", exc_info=True)

    def _report(self, error: BaseException | str) -> None:
        if self._stopping:
            return
        if self.problem is None:
            metrics.BROKER_LINKS_LOST.labels("publisher").inc()
        reason = " ".join((str(error) or repr(error)).split())[:200]
        if self._hosts.is_news(reason):
            logger.warning("Events cannot leave for %s: %s. They wait; trying again", self.address, reason)
        self.problem = f"{self.address}: {reason}"
        self._hosts.show(up=False)

    # Alarms and deadlines ------------------------------------------------------------------------

    def _on_blocked(self, connection: SelectConnection, frame: Method[Any]) -> None:
        self._blocked = True
        self._report("the broker blocks publishers: its memory or disk alarm is on")

    def _on_unblocked(self, connection: SelectConnection, frame: Method[Any]) -> None:
        self._blocked = False
        if self._channel is None:
            return
        self.problem = None
        self._hosts.show(up=True)
        now = time.monotonic()
        self._unconfirmed = deque((tag, now, outgoing) for tag, _, outgoing in self._unconfirmed)
        self._pump()

    def _check_deadlines(self) -> None:
        self._ioloop.call_later(_CHECK_EVERY_SECS, self._check_deadlines)
        self._buffer.report(self._log)
        if self._blocked or not self._unconfirmed:
            return
        if time.monotonic() - self._unconfirmed[0][1] > CONFIRM_TIMEOUT_SECS:
            self._abort(f"no confirm within {CONFIRM_TIMEOUT_SECS:.0f} s")

    # Publishing ----------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._woken = False
        channel = self._channel
        if channel is None or self._blocked:
            return
        room = min(BATCH_EVENTS, self._window - len(self._unconfirmed))
        if room <= 0:
            return
        taken = self._buffer.take(room)
        # All of them before the first is published: where that fails, each is settled with the connection.
        now = time.monotonic()
        self._unconfirmed.extend((self._tag + position, now, one) for position, one in enumerate(taken, 1))
        for event, _ in taken:
            self._tag += 1
            body = event.frame.encode()
            channel.basic_publish(EXCHANGE, event.stream, body, _properties(event, body, self._signer))
        if self._buffer.waiting:
            self.wake()

    def _confirmed(self, frame: Method[Any]) -> None:
        method = frame.method
        confirmed = isinstance(method, Basic.Ack)
        answered: list[Outgoing] = []
        if method.multiple:
            while self._unconfirmed and self._unconfirmed[0][0] <= method.delivery_tag:
                answered.append(self._unconfirmed.popleft()[2])
        else:
            for position, (tag, _, outgoing) in enumerate(self._unconfirmed):
                if tag == method.delivery_tag:
                    del self._unconfirmed[position]
                    answered.append(outgoing)
                    break
        self._window = WINDOW_EVENTS
        self._hosts.steady()
        # A nack may come of a failing disk or of a host that is going away.
        if self._refused and confirmed:
            self._works()
        for outgoing in answered:
            outgoing.settle(confirmed)
        self._buffer.done(len(answered))
        metrics.PUBLISHED.labels("confirmed" if confirmed else "refused").inc(len(answered))
        if answered and not confirmed:
            first = answered[0].event
            self._log.warning("The broker refused %d events, first %r for %s", len(answered), first.mid, first.stream)
        self._pump()

    def _lose_unconfirmed(self) -> None:
        """What was on the wire may have arrived. An ephemeral event is delivered at most once, so it is not sent again;
        a durable one has a number, so a second copy does no harm and it is sent until it is confirmed."""
        unconfirmed = [outgoing for _, _, outgoing in self._unconfirmed]
        self._unconfirmed.clear()
        self._buffer.put_back(outgoing for outgoing in unconfirmed if outgoing.durable)
        lost = [outgoing for outgoing in unconfirmed if not outgoing.durable]
        if not lost:
            return
        for outgoing in lost:
            outgoing.settle(False)
        self._buffer.done(len(lost))
        metrics.PUBLISHED.labels("unknown").inc(len(lost))
        first = lost[0].event
        logger.warning(
            "%d ephemeral events were on the wire unconfirmed and are not sent again, first %r for %s",
            len(lost),
            first.mid,
            first.stream,
        )

    def _shut_down(self) -> None:
        self._lose_unconfirmed()
        if self._connection is not None and self._connection.is_open:
            self._connection.add_on_close_callback(lambda *_: self._ioloop.stop())
            self._connection.close()
        else:
            self._ioloop.stop()


def _parameters(url: str, heartbeat_secs: int) -> pika.URLParameters:
    parameters = pika.URLParameters(
        with_query(
            url,
            heartbeat=heartbeat_secs,
            blocked_connection_timeout=BLOCKED_TIMEOUT_SECS,
            socket_timeout=CONNECT_TIMEOUT_SECS,
            stack_timeout=CONNECT_TIMEOUT_SECS * 2,
        )
    )
    parameters.client_properties = {"connection_name": f"message-flow publisher {os.getpid()}"}
    return parameters


def _properties(event: Event, body: bytes, signer: Signer) -> BasicProperties:
    headers: dict[str, Any] | None = None
    if event.is_signed:
        headers = {"epoch": event.epoch, "seq": event.seq, "sig": signer.sign(event.epoch, body)}
    return BasicProperties(
        content_type="application/json",
        message_id=event.mid,
        timestamp=int(time.time()),
        type=event.id,
        headers=headers,
    )
