"""What the processes of a site tell its nodes: something about a user has changed, so look again (docs/security.md).

A change goes over the broker as an event does, on a routing key that no browser listens to, and with our signature. It
only hurries: the rows and the rules say what is true, and every node asks them by itself, too.
"""

import json
from dataclasses import dataclass
from typing import Final

from .events import Event
from .names import CONTROL

EVENT_ID: Final = "CHANGED"


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
        data = {"user": self.user_id, "topic": self.topic}
        frame = json.dumps({"id": EVENT_ID, "data": data, "stream": CONTROL, "mid": mid})
        return Event(CONTROL, EVENT_ID, frame, len(frame.encode()), mid)


def change_of(event: Event) -> Change:
    """The change that came; its signature was checked, so one of our processes made it."""
    data = json.loads(event.frame)["data"]
    return Change(data["user"], data["topic"])
