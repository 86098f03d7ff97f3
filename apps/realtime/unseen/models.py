"""What is known of who has seen what (docs/unseen.md). Both tables are empty without REALTIME_UNSEEN_AFTER_SECS."""

from typing import ClassVar

from django.db import models


class Acknowledged(models.Model):
    """How far the tabs of a user have acknowledged the user's stream, a few seconds late.

    Attributes:
        stream: the user's.
        epoch, seq: of the last event that one of the tabs has.
    """

    stream = models.CharField(primary_key=True, max_length=255)
    epoch = models.CharField(max_length=32)
    seq = models.BigIntegerField()

    class Meta:
        app_label = "message_flow"
        verbose_name_plural = "acknowledged"

    objects: ClassVar[models.Manager["Acknowledged"]]

    def __str__(self) -> str:
        return f"{self.stream} up to {self.seq}"


class Unseen(models.Model):
    """An item of an inbox of which its user may have to be told in another way. The row goes when that is decided.

    Attributes:
        stream: the user's.
        mid: of the event and the item.
        due_at: when to look whether it was acknowledged; while receivers are told of it, when to do so once more.
    """

    stream = models.CharField(max_length=255)
    mid = models.CharField(max_length=32)
    due_at = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "message_flow"
        verbose_name_plural = "unseen"
        indexes: ClassVar = [models.Index(fields=["stream", "due_at"], name="message_flow_unseen_of")]

    objects: ClassVar[models.Manager["Unseen"]]

    def __str__(self) -> str:
        return f"{self.mid} in {self.stream}"
