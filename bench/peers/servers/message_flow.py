"""Message Flow's publishing process, and the users and tokens of the bench (docs/performance.md).

Runs in the product's own environment, with the settings of the node beside it.
"""

import time
from pathlib import Path
from secrets import token_hex
from typing import Any

import django

from bench.peers.events import ID

django.setup()

# They need Django.
from django.contrib.auth.models import User  # noqa: E402
from django.utils import timezone  # noqa: E402

from apps.realtime import EVERYONE, Topic, notify, push  # noqa: E402
from apps.realtime.models import SignIn  # noqa: E402
from apps.realtime.publishing.process import publishing_process  # noqa: E402
from apps.realtime.signin import password_digest  # noqa: E402
from apps.realtime.tokens import issue_token  # noqa: E402

_FLUSH_SECS = 60


class Sender:
    """`push` from a Django process."""

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """One ephemeral event."""
        push(_recipient(to, key), ID, event)

    def flush(self) -> None:
        """Everything is confirmed by the broker."""
        assert publishing_process().publisher.flush(_FLUSH_SECS)

    def tokens(self, users: int, path: str) -> dict[str, Any]:
        """Write a token of a standing sign-in for each of the first users, who are made where they are missing."""
        missing = range(User.objects.count() + 1, users + 1)
        User.objects.bulk_create(User(pk=number, username=f"user{number}", password="!") for number in missing)  # noqa: S106
        people = list(User.objects.order_by("pk")[:users])
        marks = [token_hex(16) for _ in people]
        SignIn.objects.bulk_create(
            SignIn(mark=mark, user_id=str(person.pk), seen_at=timezone.now())
            for mark, person in zip(marks, people, strict=True)
        )
        now = time.time()
        tokens = [
            issue_token(
                user_id=str(person.pk),
                username=person.username,
                mark=mark,
                password=password_digest(person),
                now=now,
            ).text
            for mark, person in zip(marks, people, strict=True)
        ]
        Path(path).write_text("\n".join(tokens))
        return {}


class DurableSender(Sender):
    """`notify` from a Django process, each call a transaction of its own."""

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """One durable event."""
        notify(_recipient(to, key), ID, event)

    def flush(self) -> None:
        """Everything is numbered, confirmed and written down as confirmed."""
        assert publishing_process().outbox.flush(_FLUSH_SECS)


def _recipient(to: str, key: int) -> Any:
    return EVERYONE if to == "all" else key if to == "user" else Topic(f"bench-{key}")


def sender() -> Sender:
    """For the publisher."""
    return Sender()
