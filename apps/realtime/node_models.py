"""The nodes that run, what they are asked and what they answered (docs/commands.md, "How nodes answer").

No row lasts: the relay takes away what is older than ten minutes.
"""

from datetime import timedelta
from typing import ClassVar, Final

from django.db import models
from django.db.models.functions import Now

SEEN_EVERY_SECS: Final = 30.0
# Three times that: a node that was not seen for so long is not waited for.
GONE_AFTER: Final = timedelta(seconds=90)
# Nobody waits longer for a list.
ANSWER_WITHIN: Final = timedelta(seconds=10)
KEPT: Final = timedelta(minutes=10)


class LiveNode(models.Model):
    """One running node; it renews its row every 30 s and takes it along when it drains.

    Attributes:
        id: random, for each start anew.
        name: for people: host and process id.
        seen_at: by the database's clock.
    """

    id = models.CharField(primary_key=True, max_length=32)
    name = models.CharField(max_length=255)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        app_label = "message_flow"
        # The admin's page of sessions stands for this table, and rights to it are all that there are.
        verbose_name = "live session"
        default_permissions = ("view",)
        permissions: ClassVar = [("kick_session", "Can close live sessions")]

    objects: ClassVar[models.Manager["LiveNode"]]

    def __str__(self) -> str:
        return self.name


class NodeRequest(models.Model):
    """What somebody wants of every node: to list its sessions, or to close some.

    Attributes:
        user_id: of this user alone; None: of all, and for a kick, see `sid`.
        sid: of this session alone.
    """

    class Kind(models.TextChoices):
        """What is wanted."""

        SESSIONS = "sessions"
        KICK = "kick"

    kind = models.CharField(max_length=16, choices=Kind)
    user_id = models.CharField(max_length=255, null=True)  # noqa: DJ001 - NULL is "not asked for"
    sid = models.CharField(max_length=32, null=True)  # noqa: DJ001
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        app_label = "message_flow"
        default_permissions = ()

    objects: ClassVar[models.Manager["NodeRequest"]]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class NodeAnswer(models.Model):
    """One node's answer to one request; with it the node is done with the request.

    Attributes:
        request_id, node_id: no foreign keys, so that no answer waits for a row that somebody takes away.
        sessions: as `core.live.dumped` makes them, 500 at most.
        total: how many there were.
        kicked: how many it closed.
    """

    request_id = models.BigIntegerField()
    node_id = models.CharField(max_length=32)
    sessions = models.TextField()
    total = models.IntegerField()
    kicked = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        app_label = "message_flow"
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request_id", "node_id"], name="message_flow_one_answer"),
        ]

    objects: ClassVar[models.Manager["NodeAnswer"]]

    def __str__(self) -> str:
        return f"answer of {self.node_id} to {self.request_id}"
