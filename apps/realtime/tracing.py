"""Follows one request's events from the web process to the sockets by one id (docs/logs.md).

The id of the request begins the `mid` of each event that it causes, and a `mid` goes everywhere: to the database, the
broker, the nodes and the browser. So no other field travels, and one search finds all lines.
"""

import logging
import re
from contextvars import ContextVar
from secrets import token_hex
from typing import Final

# At level DEBUG it says each step of each event; nothing else does.
logger = logging.getLogger(__name__)

# Digits of the request's id at the beginning of a mid; the other half is the event's own.
_SHARED: Final = 16
_ID: Final = re.compile(r"[0-9a-f]{32}")

_request_id: ContextVar[str] = ContextVar("message_flow_request_id", default="")


def request_id() -> str:
    """The id of the request that is being served here; empty outside one."""
    return _request_id.get()


def begin(claimed: str | None) -> str:
    """A request is served here from now on, under the id that the proxy gave it or under a new one; returns the id.

    `claimed` is anybody's text. What counts is 32 hexadecimal digits, as nginx's `$request_id` or a UUID has them.
    """
    digits = (claimed or "").replace("-", "").lower()
    _request_id.set(digits if _ID.fullmatch(digits) else token_hex(16))
    return _request_id.get()


def end() -> None:
    """The request is over, its last log line written."""
    _request_id.set("")


def new_mid() -> str:
    """A name for an event, 32 hexadecimal digits that no other event has."""
    request = _request_id.get()
    return request[:_SHARED] + token_hex(8) if request else token_hex(16)


def enabled() -> bool:
    """Whether anybody wants to see the steps: to be asked before going through many events."""
    return logger.isEnabledFor(logging.DEBUG)


def step(done: str, stream: str, event_id: str, mid: str) -> None:
    """Say what was done with an event. Both names may be any program's text."""
    logger.debug(
        "%s: %r for %s, mid %r", done, event_id, stream, mid, extra={"stream": stream, "event": event_id, "mid": mid}
    )
