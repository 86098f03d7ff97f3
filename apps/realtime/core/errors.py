"""The one tree of errors that callers of the public API may meet (docs/publishing.md).

RealtimeError
├── BadEvent          an id or data that can be no event
├── BadRecipient      nobody, an unsaved user, or a name that can be no stream
└── UnknownTopic      a topic that no `@topic` pattern declares
"""


class RealtimeError(Exception):
    """Something was refused at the door; nothing was sent."""


class BadEvent(RealtimeError, ValueError):
    """The id or the data can be no event."""


class BadRecipient(RealtimeError, ValueError):
    """The recipient names no stream."""


class UnknownTopic(RealtimeError, LookupError):
    """No `@topic` pattern declares this name."""
