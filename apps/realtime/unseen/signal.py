"""The signal for what nobody has seen (docs/unseen.md)."""

from typing import Final

from django.dispatch import Signal

# Sent by a relay, once for a user and a batch of notifications, in no transaction. Arguments:
#   sender   the class of the items, InboxItem
#   user     whose they are; there and active
#   items    the newest of them first, 100 at most: `title`, `url` (empty without one), `event_id`, `mid`, `at`
#   count    how many there are
# Where every receiver raises, the same batch comes again some minutes later.
notification_unseen: Final = Signal()
