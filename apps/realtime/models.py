"""What the library stores (docs/tokens.md, docs/history.md, docs/scheduled.md, docs/inbox.md,
docs/unseen.md)."""

from collections.abc import Collection
from datetime import timedelta
from secrets import token_hex
from typing import ClassVar

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from .inbox.models import InboxItem as InboxItem
from .inbox.models import InboxMute as InboxMute
from .unseen.models import Acknowledged as Acknowledged
from .unseen.models import Unseen as Unseen

# Whatever of this package a project uses first, urls or asgi, comes by here.
if not apps.is_installed(__package__ or ""):
    raise ImproperlyConfigured(f"add {__package__!r} to INSTALLED_APPS")


class SignIn(models.Model):
    """One sign-in of a user, as far as sockets care: tokens carry its mark and end with it.

    The row is independent of the session backend. It is kept after the sign-out, so that a request that was under way
    cannot bring the sign-in back.
    """

    mark = models.CharField(primary_key=True, max_length=32)
    # Text, not a foreign key: user models have keys of any type and may live in another database.
    user_id = models.CharField(max_length=255, db_index=True)
    ended = models.BooleanField(default=False)
    # A digest (signin.py) of the password under which the session was seen last: one that changed its user's password
    # goes on, all others of the user end. Empty in rows of before this column.
    password = models.CharField(max_length=32, default="", db_default="")
    seen_at = models.DateTimeField()

    class Meta:
        app_label = "message_flow"
        verbose_name = "sign-in"

    # Declared for the type checker only; Django sets it.
    objects: ClassVar[models.Manager["SignIn"]]

    def __str__(self) -> str:
        return f"sign-in of user {self.user_id}"

    @classmethod
    def standing(cls, marks: Collection[str]) -> dict[tuple[str, str], str]:
        """Those of the sign-ins whose tokens open sockets: the password's digest by mark and user."""
        rows = cls.objects.filter(mark__in=marks, ended=False).values_list("mark", "user_id", "password")
        return {(mark, user_id): password for mark, user_id, password in rows}

    @classmethod
    def touch(cls, mark: str, user_id: str, password: str) -> bool:
        """Note that a token is being issued for a sign-in; False where it has ended."""
        now = timezone.now()
        if cls.objects.filter(mark=mark, user_id=user_id, ended=False).update(seen_at=now, password=password):
            return True
        _, created = cls.objects.get_or_create(
            mark=mark, defaults={"user_id": user_id, "password": password, "seen_at": now}
        )
        if created:
            # Older ones belong to sessions that have run out.
            over = now - timedelta(seconds=settings.SESSION_COOKIE_AGE)
            cls.objects.filter(user_id=user_id, seen_at__lt=over).delete()
        return created

    @classmethod
    def renew(cls, mark: str, user_id: str, password: str) -> None:
        """The session goes on under another password; nothing to do where no token was issued in it."""
        standing = cls.objects.filter(mark=mark, user_id=user_id, ended=False)
        standing.exclude(password=password).update(password=password)

    @classmethod
    def end_all(cls, user_id: str, but: str | None) -> None:
        """Every sign-in of the user ends, except that of one mark."""
        standing = cls.objects.filter(user_id=user_id, ended=False).exclude(mark=but or "")
        standing.update(ended=True, seen_at=timezone.now())

    @classmethod
    def end(cls, mark: str, user_id: str) -> None:
        """The session was signed out, whether a token was ever issued in it or not."""
        cls.objects.update_or_create(mark=mark, defaults={"user_id": user_id, "ended": True, "seen_at": timezone.now()})


class Deployment(models.Model):
    """The one row that names the numbering of streams that have no row yet.

    An operator who restores a backup rotates it (`manage.py realtime rotate-epoch`), and with it every stream.
    """

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    epoch = models.CharField(max_length=32)

    class Meta:
        app_label = "message_flow"

    objects: ClassVar[models.Manager["Deployment"]]

    def __str__(self) -> str:
        return f"deployment of epoch {self.epoch}"


class Stream(models.Model):
    """The numbering of one stream; its row is the lock under which events get their numbers.

    A stream without a row stands at (epoch of the deployment, 0). No transaction of the project ever touches this
    table: a lock here would make business transactions wait for each other.

    Attributes:
        name: as in protocol.md, section 1; also the AMQP routing key.
        head: the highest seq that was given.
        floor: the highest seq that was trimmed away.
        changed_at: by the database's clock, a moment before the change was committed.
        crowded: of a group in the inbox of the stream's user more than the newest item may be visible: somebody held
            them at the last numbering (publishing/unread.py).
    """

    name = models.CharField(primary_key=True, max_length=255)
    epoch = models.CharField(max_length=32)
    head = models.BigIntegerField(default=0)
    floor = models.BigIntegerField(default=0)
    changed_at = models.DateTimeField(db_default=Now(), db_index=True)
    crowded = models.BooleanField(default=False, db_default=False)

    class Meta:
        app_label = "message_flow"

    objects: ClassVar[models.Manager["Stream"]]

    def __str__(self) -> str:
        return f"{self.name} at {self.head}"


class StoredEvent(models.Model):
    """One durable event: outbox until it is confirmed, history until it is trimmed.

    `notify` inserts it in the transaction of its caller, without a number and without a key to `Stream`. The sequencer
    numbers it after the commit; from then on only the bookkeeping of its delivery to the broker changes.

    Attributes:
        epoch, seq: None until it is numbered.
        frame: the text of the frame without its seq and count.
        unread: how many unread notifications the stream's user has, as of the numbering; None where the event does not
            change that, UNCOUNTED (core/events.py) before it is numbered.
        leased_until: until then some process is publishing it, by the database's clock.
        confirmed_at: when the broker took it, or a later event of its stream that stands for it.
    """

    stream = models.CharField(max_length=255)
    epoch = models.CharField(max_length=32, null=True)  # noqa: DJ001 - NULL is "not numbered", as for seq
    seq = models.BigIntegerField(null=True)
    mid = models.CharField(max_length=32)
    event_id = models.CharField(max_length=255)
    frame = models.TextField()
    unread = models.IntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    leased_until = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "message_flow"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "epoch", "seq"], name="message_flow_event_seq"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["stream", "id"], name="message_flow_unnumbered", condition=models.Q(seq__isnull=True)),
            models.Index(
                fields=["leased_until"],
                name="message_flow_unconfirmed",
                condition=models.Q(seq__isnull=False, confirmed_at__isnull=True),
            ),
        ]

    objects: ClassVar[models.Manager["StoredEvent"]]

    def __str__(self) -> str:
        return f"{self.event_id} for {self.stream}, {self.seq or 'not numbered'}"


class ScheduledEvent(models.Model):
    """A call of `notify(…, at=)` whose time has not come (docs/scheduled.md).

    Everything is checked and encoded by then. The relay makes event rows of it and deletes it in one transaction.

    Attributes:
        handle: by which its caller cancels it; nobody can guess it.
        data: as JSON.
        targets: stream, and user id or None, of each recipient.
        failed_at: when it turned out that it cannot be stored; the relay leaves it alone from then on.
    """

    handle = models.CharField(max_length=32, unique=True)
    due_at = models.DateTimeField()
    event_id = models.CharField(max_length=255)
    data = models.TextField()
    title = models.TextField(null=True)  # noqa: DJ001 - NULL is "none given": an empty one is in the frame
    url = models.TextField(null=True)  # noqa: DJ001 - as above
    # The column is not called by a word of SQL.
    group = models.TextField(null=True, db_column="group_key")  # noqa: DJ001 - as above
    targets = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    failed_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "message_flow"
        indexes: ClassVar = [
            models.Index(fields=["due_at", "id"], name="message_flow_due", condition=models.Q(failed_at__isnull=True)),
            models.Index(
                fields=["failed_at"],
                name="message_flow_set_aside",
                condition=models.Q(failed_at__isnull=False),
            ),
        ]

    objects: ClassVar[models.Manager["ScheduledEvent"]]

    def __str__(self) -> str:
        return f"{self.event_id} at {self.due_at}"


def new_epoch() -> str:
    """A random name for a numbering."""
    return token_hex(8)


# Django finds models here.
from . import node_models  # noqa: E402, F401
