"""RabbitMQ: reachable, by TLS, and what this user may do there (docs/doctor.md)."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from ...brokers.rabbitmq.topology import EXCHANGE, EXCHANGE_TYPE, QUEUE_ARGUMENTS, QueueNames, redacted, with_query
from ...conf import realtime_settings
from ...core.broker_urls import host_and_port, is_this_machine
from .findings import Finding, Status, fail, ok, one_line, warn
from .probe import PROBE_STREAM

CONNECT_SECS: Final = 5.0
_ALARM_SECS: Final = 3.0
# Of one host: its certificate, connecting; then the calls, which a frozen broker leaves without an answer.
HOST_SECS: Final = 3 * CONNECT_SECS
CALLS_SECS: Final = 10.0
EXPIRES_DAYS: Final = 14
_ACCESS_REFUSED: Final = 403
_PRECONDITION_FAILED: Final = 406

# What the AMQP user of this process is for, and the rights that it needs.
_RIGHTS: Final = {"both": ("publish", "listen"), "web": ("publish",), "node": ("listen",)}
ROLES: Final = tuple(_RIGHTS)
# For `rabbitmqctl set_permissions`: configure, write, read. Queues of nodes begin with twelve digits that each node
# makes up (brokers/rabbitmq/topology.py). A test holds the last two equal to those of ops/install.
PATTERNS: Final = {
    "both": (r"^realtime\.",) * 3,
    "web": (r"^realtime\.events$", r"^realtime\.events$", "^$"),
    "node": (
        r"^realtime\.[0-9a-f]{12}\.",
        r"^realtime\.[0-9a-f]{12}\.",
        r"^realtime\.(events$|[0-9a-f]{12}\.)",
    ),
}


def within_secs() -> float:
    """What all of it takes at most."""
    return HOST_SECS * max(1, len(realtime_settings().amqp_urls)) + CALLS_SECS


def look_at_broker(role: str) -> Iterator[Finding]:
    """Every host of the settings, and on the first that answers the exchange and the rights of the user."""
    urls = realtime_settings().amqp_urls
    if not urls:
        yield warn(
            "there is none: events reach sockets of one process only",
            "fine on a laptop; a deployment sets REALTIME_AMQP_URL",
        )
        return
    connection: pika.BlockingConnection | None = None
    for url in urls:
        try:
            transport = _transport(url)
            found = _connect(url)
        except Exception as error:
            yield _no_connection(url, error, others=len(urls) > 1)
            continue
        yield transport
        if connection is None:
            connection, connected = found, url
        else:
            found.close()
    if connection is None:
        return
    try:
        yield from _rights(connection, role, connected)
    except pika.exceptions.ConnectionBlockedTimeout:
        yield fail(
            "RabbitMQ blocks publishers: its memory or disk alarm is on",
            "rabbitmq-diagnostics alarms says which; events wait until it is over",
        )
    finally:
        with suppress(Exception):
            connection.close()


# Getting there --------------------------------------------------------------------------------------


def _transport(url: str) -> Finding:
    """Whether somebody is there, whether others can read along, and for how long the certificate holds.

    Raises:
        OSError: nobody is there, or it is not the right one.
    """
    host, port = host_and_port(url)
    address = redacted(url)
    with socket.create_connection((host, port), CONNECT_SECS) as tcp:
        if urlsplit(url).scheme == "amqps":
            # As both AMQP libraries verify: the CAs of the machine, or SSL_CERT_FILE, and the host's name.
            with ssl.create_default_context().wrap_socket(tcp, server_hostname=host) as tls:
                certificate = tls.getpeercert() or {}
                return certificate_finding(address, str(certificate.get("notAfter")), str(tls.version()))
    if is_this_machine(host):
        return ok(f"{address} answers; it has no TLS, and what is said never leaves this machine")
    return fail(f"{address} has no TLS: whoever is on the way reads the password and all events", "use amqps://")


def certificate_finding(address: str, not_after: str, version: str) -> Finding:
    """What to make of a verified certificate that ends at `not_after` (as OpenSSL writes it)."""
    days = (ssl.cert_time_to_seconds(not_after) - time.time()) / 86_400
    told = f"{address} answers by {version}; its certificate is verified and ends in {days:.0f} days"
    if days < EXPIRES_DAYS:
        return warn(told, "renew it before: from then on nobody connects")
    return ok(told)


def _connect(url: str) -> pika.BlockingConnection:
    parameters = pika.URLParameters(
        with_query(
            url,
            heartbeat=realtime_settings().amqp_heartbeat_secs,
            socket_timeout=CONNECT_SECS,
            stack_timeout=CONNECT_SECS * 2,
            blocked_connection_timeout=_ALARM_SECS,
        )
    )
    parameters.client_properties = {"connection_name": "message-flow doctor"}
    return pika.BlockingConnection(parameters)


def _no_connection(url: str, error: Exception, *, others: bool) -> Finding:
    address = redacted(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "it must be for this name and of a known CA; SSL_CERT_FILE names one's own (docs/brokers.md, TLS)"
    elif isinstance(error, OSError):
        advice = "see that RabbitMQ runs there, and that no firewall is between"
    elif isinstance(error, pika.exceptions.ProbableAuthenticationError):
        advice = "user or password is wrong: rabbitmqctl change_password, and the same in REALTIME_AMQP_URL"
    elif isinstance(error, pika.exceptions.ProbableAccessDeniedError):
        advice = f"the vhost must exist and the user have rights in it: rabbitmqctl list_permissions -p {_vhost(url)}"
    else:
        advice = "read RabbitMQ's log of this moment"
    return fail(f"{address}: {one_line(error)}", advice + ("; the other hosts serve meanwhile" if others else ""))


def _vhost(url: str) -> str:
    return unquote(urlsplit(url).path[1:]) or "/"


# Rights ---------------------------------------------------------------------------------------------


def _rights(connection: pika.BlockingConnection, role: str, url: str) -> Iterator[Finding]:
    exchange = _exchange(connection, url)
    yield exchange
    if exchange.status is Status.FAIL:
        return
    patterns = " ".join(f"'{pattern}'" for pattern in PATTERNS[role])
    user = urlsplit(url).username or "guest"
    command = f"rabbitmqctl set_permissions -p {_vhost(url)} {user} {patterns}"
    may = {right: _refusal(connection, call) for right, call in (("publish", _write), ("listen", _listen))}
    for right, refused in may.items():
        needed = right in _RIGHTS[role]
        if refused is None and needed:
            yield ok(f"this user may {right}")
        elif refused is None:
            yield warn(f"this user may {right} too, which a {role} process never does", command)
        elif refused[0] != _ACCESS_REFUSED:
            yield fail(f"this user cannot {right}: {refused[0]} {refused[1]}", "read RabbitMQ's log of this moment")
        elif needed:
            yield fail(f"this user may not {right}: {refused[1]}", command)
        else:
            yield ok(f"this user may not {right}, which a {role} process never does")
    if not any(may.values()):
        yield _round_trip(connection)


def _exchange(connection: pika.BlockingConnection, url: str) -> Finding:
    declared = _refusal(connection, lambda channel: channel.exchange_declare(EXCHANGE, EXCHANGE_TYPE, durable=True))
    if declared is None:
        return ok(f"the exchange {EXCHANGE} is a durable {EXCHANGE_TYPE} exchange")
    code, text = declared
    if code == _PRECONDITION_FAILED:
        return fail(
            f"the exchange {EXCHANGE} is another one than it should be, a durable {EXCHANGE_TYPE} exchange: {text}",
            f"delete it as an administrator; the site declares it anew within seconds: "
            f"rabbitmqadmin -V {_vhost(url)} delete exchange name={EXCHANGE}",
        )
    if code != _ACCESS_REFUSED:
        return fail(f"the exchange {EXCHANGE} cannot be declared: {code} {text}", "read RabbitMQ's log of this moment")
    there = _refusal(connection, lambda channel: channel.exchange_declare(EXCHANGE, passive=True))
    if there is None:
        return ok(
            f"the exchange {EXCHANGE} is there. This user may not declare it, and so not see whether it is a durable "
            f"{EXCHANGE_TYPE} exchange: rabbitmqctl list_exchanges -p {_vhost(url)} name type durable"
        )
    return fail(
        f"the exchange {EXCHANGE} is not there, and this user may not make it: {there[0]} {there[1]}",
        f"make it as an administrator: rabbitmqadmin -V {_vhost(url)} declare exchange name={EXCHANGE} "
        f"type={EXCHANGE_TYPE} durable=true",
    )


def _write(channel: BlockingChannel) -> None:
    """Publish to a stream that nobody has; the confirm says that it was allowed."""
    channel.confirm_delivery()
    # Not a body that is an event: whoever listens to everything drops and counts it.
    channel.basic_publish(EXCHANGE, PROBE_STREAM, b"{}")


def _listen(channel: BlockingChannel) -> None:
    queue = _bound_queue(channel)
    channel.basic_get(queue, auto_ack=True)
    channel.queue_delete(queue)


def _bound_queue(channel: BlockingChannel) -> str:
    """A queue named as a node names them, bound to the stream that nobody has."""
    queue = QueueNames().next("doctor")
    channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=dict(QUEUE_ARGUMENTS))
    channel.queue_bind(queue, EXCHANGE, PROBE_STREAM)
    return queue


def _round_trip(connection: pika.BlockingConnection) -> Finding:
    channel = connection.channel()
    queue = _bound_queue(channel)
    channel.confirm_delivery()
    began = time.monotonic()
    channel.basic_publish(EXCHANGE, PROBE_STREAM, b"{}")
    confirmed_secs = time.monotonic() - began
    body = None
    while body is None and time.monotonic() - began < CONNECT_SECS:
        _, _, body = channel.basic_get(queue, auto_ack=True)
    took_secs = time.monotonic() - began
    channel.queue_delete(queue)
    channel.close()
    if body is None:
        return fail(
            f"a message was confirmed, but not to be had from a queue that is bound for it within {CONNECT_SECS:.0f} s",
            f"see that {EXCHANGE} is a topic exchange",
        )
    return ok(
        f"a message is confirmed after {confirmed_secs * 1000:.1f} ms and back from a queue after "
        f"{took_secs * 1000:.1f} ms"
    )


def _refusal(connection: pika.BlockingConnection, call: Callable[[BlockingChannel], object]) -> tuple[int, str] | None:
    """What the broker said against a call, on a channel of its own, as it closes the channel over it; None: nothing."""
    channel = connection.channel()
    try:
        call(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        return error.reply_code, " ".join(error.reply_text.split())
    if channel.is_open:
        channel.close()
    return None
