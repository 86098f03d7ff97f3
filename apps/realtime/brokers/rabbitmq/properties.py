"""Reads the properties of a message as far as they can be read (docs/brokers.md).

Any program may publish, and set a property to a text that is no UTF-8 or to a time after the year 9999. pamqp refuses
the whole frame then and aiormq drops the connection: one message to one user would cut off everybody on the node, and
the next one again. No setting of theirs changes that.
"""

from typing import Final

from pamqp.header import ContentHeader

_read_all: Final = ContentHeader.unmarshal


def tolerate_unreadable_properties() -> None:
    """Make pamqp keep the properties before the unreadable one and the body; calling it again does nothing."""
    ContentHeader.unmarshal = _read_what_can_be_read  # type: ignore[assignment, method-assign]


def _read_what_can_be_read(header: ContentHeader, data: bytes) -> None:
    try:
        _read_all(header, data)
    except Exception:
        # The size of the body stands before the properties. Without it the stream of frames makes no sense any more.
        if header.class_id is None:
            raise
