"""What the inbox stores: rows of its own, which reading, grouping and retention may change (docs/inbox.md)."""

from datetime import datetime
from typing import ClassVar, Final

from django.db import models
from django.db.models.functions import Now

from ..core.texts import GROUP_MAX_CHARS, TITLE_MAX_CHARS, URL_MAX_CHARS
from ..times import database_time

VISIBLE: Final = models.Q(hidden=False)
UNREAD: Final = models.Q(hidden=False, read_at__isnull=True)


class InboxItem(models.Model):
    """One notification with a title of one user.

    `notify` inserts it in the transaction of its caller, beside the event of the same `mid`. It has no key to anything:
    events are trimmed, and users may live in another database.

    Attributes:
        stream: the user's; every query goes by it.
        user_id: primary key of the user as text, which the stream's name may hide.
        mid: the event's; the handle of the item for everybody outside.
        url: empty where there is none.
        group: items of a user with the same one replace each other.
        read_at: None while it is unread; those that were read at once share it.
        created_at: by the database's clock, as the column has it; `at` is the same for everybody outside.
        hidden: by the user, or by a newer item of its group.
    """

    stream = models.CharField(max_length=255)
    user_id = models.CharField(max_length=255)
    mid = models.CharField(max_length=32)
    event_id = models.CharField(max_length=255)
    title = models.CharField(max_length=TITLE_MAX_CHARS)
    url = models.CharField(max_length=URL_MAX_CHARS, blank=True)
    # The column is not called by a word of SQL.
    group = models.CharField(max_length=GROUP_MAX_CHARS, null=True, db_column="group_key")  # noqa: DJ001 - NULL is "none"
    created_at = models.DateTimeField(db_default=Now(), db_index=True)
    read_at = models.DateTimeField(null=True)
    hidden = models.BooleanField(default=False, db_default=False)

    class Meta:
        app_label = "message_flow"
        verbose_name = "inbox item"
        # `unique=True` would bring an index for LIKE beside it.
        constraints: ClassVar = [models.UniqueConstraint(fields=["mid"], name="message_flow_inbox_mid")]
        # Lists and counts read what they show and nothing else, however much is hidden, read or old.
        indexes: ClassVar = [
            models.Index(fields=["stream", "id"], name="message_flow_inbox_visible", condition=VISIBLE),
            models.Index(fields=["stream", "id"], name="message_flow_inbox_unread", condition=UNREAD),
            models.Index(
                fields=["stream", "group"],
                name="message_flow_inbox_group",
                condition=models.Q(hidden=False, group__isnull=False),
            ),
            # Of all items: those of a user who is deleted are found by it.
            models.Index(fields=["stream", "read_at"], name="message_flow_inbox_read"),
        ]

    objects: ClassVar[models.Manager["InboxItem"]]

    def __str__(self) -> str:
        return f"{self.event_id} in the inbox of user {self.user_id}"

    @property
    def at(self) -> datetime:
        """When it was made, with a time zone."""
        return database_time(self.created_at)


class InboxMute(models.Model):
    """A user who does not want to be told of events of one id."""

    stream = models.CharField(max_length=255)
    event_id = models.CharField(max_length=255)

    class Meta:
        app_label = "message_flow"
        verbose_name = "muted event id"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "event_id"], name="message_flow_inbox_mute"),
        ]

    objects: ClassVar[models.Manager["InboxMute"]]

    def __str__(self) -> str:
        return f"{self.event_id} muted in {self.stream}"
