"""Every number and word that both ends of the socket must agree on (docs/protocol.md).

Python, JavaScript (static/js/codes.js) and the docs repeat this table; a test holds them equal.
"""

from enum import IntEnum, StrEnum
from typing import Final

SUBPROTOCOL: Final = "realtime.v1"
HEARTBEAT: Final = "<3"


class CloseCode(IntEnum):
    """Why the server closes a socket: 4000-4499 means reconnect, 4500-4999 means stop.

    Daphne can send 1000 and 3000-4999 only, and no reason text: the code is all that a seed client is told.
    """

    DRAIN = 4001
    TOO_SLOW = 4002
    AUTH_TIMEOUT = 4003
    HEARTBEAT_MISSED = 4005
    RESYNC = 4006
    RATE_LIMITED = 4008
    AUTH_FAILED = 4501
    PROTOCOL_VIOLATION = 4502
    REVOKED = 4503
    TOO_MANY_CONNECTIONS = 4504
    ORIGIN_REFUSED = 4505

    @property
    def reconnect(self) -> bool:
        """Whether the client may come back by itself."""
        return self < 4500


class ErrorCode(StrEnum):
    """The `code` of an ERROR or AUTH FAILED frame of realtime.v1."""

    BAD_FRAME = "bad_frame"
    BAD_TOPIC = "bad_topic"
    NOT_AUTHENTICATED = "not_authenticated"
    TOO_MANY_TOPICS = "too_many_topics"
    RATE_LIMITED = "rate_limited"
    FRAME_TOO_LARGE = "frame_too_large"
    BINARY_FRAME = "binary_frame"
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a word on the wire, no secret
    ORIGIN_REFUSED = "origin_refused"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    GOING_DOWN = "going_down"


class AuthReason(StrEnum):
    """Why an AUTH REQUEST is sent."""

    CONNECT = "connect"
    EXPIRING = "expiring"
    REJECTED = "rejected"


class StreamState(StrEnum):
    """What a session knows of a stream after AUTH OK or SUBSCRIBED (protocol.md, "Resume")."""

    NEW = "new"
    RECOVERED = "recovered"
    GAP = "gap"
    DENIED = "denied"


class GapReason(StrEnum):
    """Why a stream cannot be continued where the client left it."""

    EPOCH = "epoch"  # another numbering, a position that was never given, or no cursor at all
    TRIMMED = "trimmed"
    TOO_MANY = "too_many"


class UnsubscribedReason(StrEnum):
    """Why an UNSUBSCRIBED comes that the client did not ask for."""

    REVOKED = "revoked"


AUTH_REQUEST: Final = "AUTH REQUEST"
AUTH: Final = "AUTH"
AUTH_OK: Final = "AUTH OK"
AUTH_FAILED: Final = "AUTH FAILED"
SUBSCRIBE: Final = "SUBSCRIBE"
SUBSCRIBED: Final = "SUBSCRIBED"
UNSUBSCRIBE: Final = "UNSUBSCRIBE"
UNSUBSCRIBED: Final = "UNSUBSCRIBED"
ACK: Final = "ACK"
GAP: Final = "GAP"
RECONNECT: Final = "RECONNECT"
ERROR: Final = "ERROR"

# No event may pose as control: refused by the API and dropped from the exchange (protocol.md, section 2).
RESERVED_IDS: Final = frozenset(
    {
        AUTH_REQUEST,
        AUTH,
        AUTH_OK,
        AUTH_FAILED,
        SUBSCRIBE,
        SUBSCRIBED,
        UNSUBSCRIBE,
        UNSUBSCRIBED,
        ACK,
        GAP,
        RECONNECT,
        ERROR,
        HEARTBEAT,
    }
)
