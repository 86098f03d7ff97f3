"""The event that every system carries: 200 bytes of JSON that say when they were sent (docs/performance.md).

    {"text":"~1767225600.123456~00000042~xxxxx…"}

The mark `~` begins the time and the number, both of fixed width, so that a client finds them without a JSON parser.
"""

import time
from typing import Final

EVENT_BYTES: Final = 200
ID: Final = "bench/EVENT"
MARK: Final = ord("~")
# Offsets from the mark.
TIME: Final = slice(1, 18)
NUMBER: Final = slice(19, 27)
# What follows the data in a frame of Message Flow: its stream and, last of a durable one, its number.
STREAM: Final = b'"stream":"'
SEQ: Final = b',"seq":'
SEQ_WITHIN: Final = len(SEQ) + 20
_FRAME_BYTES: Final = len('{"text":""}')


def data(number: int) -> dict[str, str]:
    """The event's data; its JSON without blanks has 200 bytes."""
    head = f"~{time.time():.6f}~{number:08d}~"
    return {"text": head.ljust(EVENT_BYTES - _FRAME_BYTES, "x")}
