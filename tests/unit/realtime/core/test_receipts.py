"""What a client has acknowledged of its user's stream (docs/unseen.md)."""

from apps.realtime.core.names import user_stream
from apps.realtime.core.receipts import Receipts
from apps.realtime.core.resume import Cursor


def test_an_acknowledgement_covers_the_events_of_the_frames_that_it_counts() -> None:
    receipts = Receipts(user_stream("1"))
    assert receipts.acked(0) is None
    # Frames 1, 3 and 4 were something else.
    for frame, seq in ((2, 7), (5, 8), (6, 9)):
        receipts.sent(frame, Cursor("e", seq))
    assert receipts.acked(1) is None
    assert receipts.acked(4) == Cursor("e", 7)
    assert receipts.acked(4) is None
    assert receipts.acked(100) == Cursor("e", 9)
    assert receipts.acked(200) is None
