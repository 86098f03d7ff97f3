"""Streams and their names, which are AMQP routing keys too (docs/protocol.md, section 3).

A stream is `user.<id>`, `all` or `topic.<name>`. Ids and names come from outside, so they are escaped: whatever a
user types, the result holds no `.`, `*` or `#` of its own and no two inputs give one result.
"""

import reprlib
from hashlib import sha256
from typing import Final, NewType
from urllib.parse import quote

from .errors import BadRecipient

Stream = NewType("Stream", str)

ALL: Final = Stream("all")
# No stream of events: what our processes tell the nodes (core/control.py). No escaped name is like it.
CONTROL: Final = Stream("control")

# Django's usual bound of a CharField key; a longer one is more likely a mistake than a name.
NAME_MAX_CHARS: Final = 255
# An AMQP short string holds 255 bytes (AMQP 0-9-1, 4.2.5.3). Queue names carry the stream too, behind a prefix of
# under 60 bytes, and must stay below the same bound.
ESCAPED_MAX_BYTES: Final = 180


def escape(name: str) -> str:
    """Percent-encode a name (RFC 3986) so that only `A-Z a-z 0-9 _ -` and `%XX` are left.

    A name whose escaped form exceeds 180 bytes becomes `~` and the SHA-256 of its UTF-8 text: `~` itself is always
    escaped, so no name can pose as another one's digest.

    Raises:
        BadRecipient: empty, over 255 characters, or not encodable as UTF-8.
    """
    if not name or len(name) > NAME_MAX_CHARS:
        raise BadRecipient(f"a name has 1 to {NAME_MAX_CHARS} characters, this one has {len(name)}")
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise BadRecipient(f"the name {reprlib.repr(name)} is no valid Unicode text") from error
    # quote() never touches `.` and `~`, which mean something here.
    escaped = quote(raw, safe="").replace(".", "%2E").replace("~", "%7E")
    if len(escaped) <= ESCAPED_MAX_BYTES:
        return escaped
    return "~" + sha256(raw).hexdigest()


def user_stream(user_id: str) -> Stream:
    """The stream of one user; `user_id` is the primary key as text."""
    return Stream("user." + escape(user_id))


def topic_stream(name: str) -> Stream:
    """The stream of a topic, by the name that the project gave it."""
    return Stream("topic." + escape(name))


def is_routing_key(key: str) -> bool:
    """Whether a message on this routing key is for a node: a stream's, or our own."""
    return key == CONTROL or is_stream(key)


def is_stream(name: str) -> bool:
    """Whether a name is one that this module could have made (never a pattern, never a stray dot)."""
    if name == ALL:
        return True
    kind, dot, rest = name.partition(".")
    return bool(dot and rest) and kind in ("user", "topic") and not set(rest) & set(".*# ")
