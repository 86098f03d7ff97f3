"""What a node tells of its open sockets to who asks (docs/commands.md, "sessions")."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Final

# Of one socket; a name has up to 255 characters.
TOPICS_SHOWN: Final = 10
# What the name of a session looks like.
SID: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One open socket, as its node saw it when it was asked.

    Attributes:
        node: the name of its node.
        sid: names the session in logs and to its client.
        user_id: None before it has authenticated; so is `username` empty.
        dialect: `v1` or `seed`.
        since: when it connected, unix seconds by the node's clock.
        topics: the first of those that it listens to; `more_topics` were left out.
        position: the seq of the last durable event of the user's own stream that was written to it; None before.
        unacked: event frames that it has not acknowledged; None where its dialect acknowledges nothing.
        address: where it comes from, as the limits count it; None where the server does not know.
    """

    node: str
    sid: str
    user_id: str | None
    username: str
    dialect: str
    since: float
    topics: tuple[str, ...]
    more_topics: int
    position: int | None
    unacked: int | None
    address: str | None


_FIELDS: Final = {field.name for field in fields(LiveSession)}


def dumped(sessions: Iterable[LiveSession]) -> str:
    """The sessions as a text of ASCII characters, which every database takes."""
    return json.dumps([asdict(session) for session in sessions])


def loaded(text: str) -> list[LiveSession]:
    """What `dumped` made, here or in the next release, which may tell more."""
    rows = [{name: value for name, value in row.items() if name in _FIELDS} for row in json.loads(text)]
    return [LiveSession(**row | {"topics": tuple(row["topics"])}) for row in rows]
