"""A text as the bytes that a WebSocket carries (docs/node.md; RFC 6455, section 5.2)."""

import struct
from typing import Final

_FINAL_TEXT: Final = 0x81


def websocket_message(text: str) -> bytes:
    """One unmasked frame, as a server sends it; the text is valid Unicode."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((_FINAL_TEXT, size)) + payload
    if size < 2**16:
        return struct.pack("!BBH", _FINAL_TEXT, 126, size) + payload
    return struct.pack("!BBQ", _FINAL_TEXT, 127, size) + payload
