"""The event that tells a change of the inbox (docs/protocol.md, section 4)."""

import json
from typing import Any

import pytest

from apps.realtime.core.events import UNCOUNTED
from apps.realtime.models import StoredEvent
from apps.realtime.publishing.inbox import MIDS_MAX, tell_change
from apps.realtime.publishing.targets import user_target

pytestmark = pytest.mark.django_db


def told() -> dict[str, Any]:
    row = StoredEvent.objects.get()
    assert (row.stream, row.event_id, row.unread) == ("user.7", "inbox/CHANGED", UNCOUNTED)
    frame: dict[str, Any] = json.loads(row.frame)
    assert "title" not in frame
    data: dict[str, Any] = frame["data"]
    return data


def test_it_names_what_has_changed() -> None:
    tell_change(user_target("7"), read=["a"], hidden=["b", "c"])
    assert told() == {"read": ["a"], "unread": [], "hidden": ["b", "c"]}


def test_of_many_it_names_some_and_says_that_there_are_more() -> None:
    tell_change(user_target("7"), unread=[str(n) for n in range(MIDS_MAX + 1)])
    data = told()
    assert (len(data["unread"]), data["reload"]) == (MIDS_MAX, True)
