"""Message Flow's publishing process, and the users and tokens of the bench (docs/performance.md).

Runs in the product's own environment, with the settings of the node beside it.
"""

import statistics
import time
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import token_hex
from typing import Any

import django

from bench.peers.events import ID, data

django.setup()

# They need Django.
from django.contrib.auth.models import User  # noqa: E402
from django.db import transaction  # noqa: E402
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

    def notify(self, to: str, key: int | list[int], event: dict[str, str]) -> None:
        """One durable event, or the same for several users."""
        notify(_recipient(to, key), ID, event)

    def transaction(self) -> AbstractContextManager[None]:
        """What calls of `notify` may share."""
        return transaction.atomic()

    def flush(self) -> None:
        """Everything is numbered and confirmed by the broker."""
        assert publishing_process().outbox.flush(_FLUSH_SECS)
        assert publishing_process().publisher.flush(_FLUSH_SECS)

    def cost(self, count: int) -> dict[str, float]:
        """Medians, in µs, of a call: `push`, and in the same transactions a bare INSERT by the ORM and `notify`."""
        pushed, inserted, notified = [], [], []
        for number in range(count):
            event = data(0)
            began = time.perf_counter()
            push(1, ID, event)
            pushed.append(time.perf_counter() - began)
            with transaction.atomic():
                began = time.perf_counter()
                SignIn.objects.create(mark=f"bench-{number}", user_id="0", seen_at=timezone.now())
                between = time.perf_counter()
                notify(1, ID, event)
                ended = time.perf_counter()
            inserted.append(between - began)
            notified.append(ended - between)
        self.flush()
        found = {"push": pushed, "insert": inserted, "notify": notified}
        return {f"{name}_us": 1e6 * statistics.median(secs) for name, secs in found.items()}

    def tokens(self, users: int, path: str) -> dict[str, Any]:
        """Write a token of a standing sign-in for each of the first users, who are made where they are missing."""
        missing = range(User.objects.count() + 1, users + 1)
        User.objects.bulk_create(User(pk=number, username=f"user{number}", password="!") for number in missing)  # noqa: S106
        people = list(User.objects.order_by("pk")[:users])
        sign_ins = [
            SignIn(mark=token_hex(16), user_id=str(one.pk), password=password_digest(one), seen_at=timezone.now())
            for one in people
        ]
        SignIn.objects.bulk_create(sign_ins)
        now = time.time()
        tokens = [
            issue_token(
                user_id=sign_in.user_id, username=one.username, mark=sign_in.mark, password=sign_in.password, now=now
            ).text
            for one, sign_in in zip(people, sign_ins, strict=True)
        ]
        Path(path).write_text("\n".join(tokens))
        return {}


def _recipient(to: str, key: int | list[int]) -> Any:
    return EVERYONE if to == "all" else key if to == "user" else Topic(f"bench-{key}")


def sender() -> Sender:
    """For the publisher."""
    return Sender()
