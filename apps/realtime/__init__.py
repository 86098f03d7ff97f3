"""Push from Django to the browser over one authenticated WebSocket. This is the whole public API (README)."""

from .core.errors import BadEvent, BadRecipient, RealtimeError, UnknownTopic
from .cursors import cursor, json_with_cursor, with_cursor
from .publishing.control import revoke, sign_out_everywhere
from .publishing.notify import anotify, notify
from .publishing.progress import task_progress
from .publishing.push import push
from .publishing.scheduled import acancel_scheduled, cancel_scheduled
from .publishing.targets import EVERYONE
from .topics import Topic, topic
from .unseen.signal import notification_unseen
from .version import __version__

__all__ = [
    "EVERYONE",
    "BadEvent",
    "BadRecipient",
    "RealtimeError",
    "Topic",
    "UnknownTopic",
    "__version__",
    "acancel_scheduled",
    "anotify",
    "cancel_scheduled",
    "cursor",
    "json_with_cursor",
    "notification_unseen",
    "notify",
    "push",
    "revoke",
    "sign_out_everywhere",
    "task_progress",
    "topic",
    "with_cursor",
]
