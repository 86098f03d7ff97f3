"""What the tests of the inbox share: items of a user."""

from collections.abc import Callable

import pytest

from apps.realtime import notify
from apps.realtime.models import InboxItem
from apps.realtime.publishing.targets import Target, user_target
from tests.unit.conftest import MakeUser

# Stores some and returns their handles, the oldest first.
Notified = Callable[[Target, int], list[str]]


@pytest.fixture
def mine(make_user: MakeUser) -> Target:
    return user_target(str(make_user("alice").pk))


@pytest.fixture
def others(make_user: MakeUser) -> Target:
    return user_target(str(make_user("bob").pk))


@pytest.fixture
def notified() -> Notified:
    def notified(target: Target, count: int) -> list[str]:
        for n in range(count):
            notify(target.user_id, "x", title=f"Number {n}")
        mids = InboxItem.objects.filter(stream=target.stream).order_by("-id").values_list("mid", flat=True)
        return list(reversed(mids[:count]))

    return notified
