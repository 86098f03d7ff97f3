"""What the processes of a site tell its nodes: something about a user has changed, or somebody asks (docs/security.md).

A message goes over the broker as an event does, on a routing key that no browser listens to, and with our signature. It
only hurries: the rows and the rules say what is true, and every node asks them by itself, too.
"""

import json
from dataclasses import dataclass
from typing import Final

from .events import Event
from .names import CONTROL

_CHANGED: Final = "CHANGED"
_ASKED: Final = "ASKED"


@dataclass(frozen=True, slots=True)
class Change:
    """What may have changed.

    Attributes:
        user_id: whose sign-ins and rights are to be looked up again; None: everybody's rights.
        topic: the user has lost the right to this topic, whatever its rule says; None: nothing is known yet.
    """

    user_id: str | None
    topic: str | None = None

    def event(self, mid: str) -> Event:
        """The change as it travels."""
        return _event(_CHANGED, {"user": self.user_id, "topic": self.topic}, mid)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for the nodes has been stored: look for it. What it is stands in its row alone."""

    def event(self, mid: str) -> Event:
        """The news as they travel."""
        # The release before this one takes whatever comes for a change: nobody's has no consequence there.
        return _event(_ASKED, {"user": "", "topic": None}, mid)


def message_of(event: Event) -> Change | Asked | None:
    """What came; its signature was checked, so one of our processes made it. None: a later release knows what it is."""
    if event.id == _ASKED:
        return Asked()
    if event.id != _CHANGED:
        return None
    data = json.loads(event.frame)["data"]
    return Change(data["user"], data["topic"])


def _event(event_id: str, data: object, mid: str) -> Event:
    frame = json.dumps({"id": event_id, "data": data, "stream": CONTROL, "mid": mid})
    return Event(CONTROL, event_id, frame, len(frame.encode()), mid)
