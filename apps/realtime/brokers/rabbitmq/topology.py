"""Names and arguments on the RabbitMQ side (docs/protocol.md, section 3)."""

from itertools import count
from secrets import token_hex
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ...core.broker_urls import host_and_port
from ...core.names import Stream

EXCHANGE: Final = "realtime.events"
EXCHANGE_TYPE: Final = "topic"

# What waits in a queue while its node is stuck; drop-head is RabbitMQ's default overflow. Never reject-publish: one
# full queue would refuse an event that the other queues have taken already.
QUEUE_MAX_EVENTS: Final = 10_000
QUEUE_MAX_BYTES: Final = 64 * 1024 * 1024
QUEUE_ARGUMENTS: Final = {"x-max-length": QUEUE_MAX_EVENTS, "x-max-length-bytes": QUEUE_MAX_BYTES}


class QueueNames:
    """A new name for each declaration: after a half-open link the broker still holds the queue of the old one."""

    def __init__(self) -> None:
        self._node = token_hex(6)
        self._numbers = count(1)

    def next(self, purpose: str) -> str:
        """`purpose` is a stream or the word `node`: it is there for the person who lists the queues."""
        # pamqp takes neither of the two characters that escaping brings in.
        shown = purpose.replace("%", "+").replace("~", ":")
        return f"realtime.{self._node}.{next(self._numbers)}.{shown}"


def uses_user_queue(stream: Stream) -> bool:
    """Whether the per-user strategy gives this stream a queue of its own."""
    return stream.startswith("user.")


def with_query(url: str, **parameters: float | str) -> str:
    """The AMQP URL with connection parameters added; those that the operator wrote there win."""
    parts = urlsplit(url)
    query = {name: str(value) for name, value in parameters.items()} | dict(parse_qsl(parts.query))
    return urlunsplit(parts._replace(query=urlencode(query)))


def redacted(url: str) -> str:
    """The broker's address for a log line: no user, no password, no parameters."""
    parts = urlsplit(url)
    host, port = host_and_port(url)
    return f"{parts.scheme}://{host}:{port}{parts.path}"
