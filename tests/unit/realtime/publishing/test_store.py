"""The rows of `notify` leave after the commit, and only then (docs/publishing.md)."""

import pytest
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from apps.realtime import EVERYONE, BadEvent, notify
from apps.realtime.core.events import FRAME_MAX_BYTES, SEQ_MAX_BYTES, numbered
from apps.realtime.core.names import Stream
from apps.realtime.models import StoredEvent
from apps.realtime.publishing import process as module
from apps.realtime.publishing.process import PublishingProcess
from tests.unit.conftest import MakeUser, Woken


def stored() -> list[tuple[str, str]]:
    return list(StoredEvent.objects.order_by("id").values_list("stream", "event_id"))


@pytest.mark.django_db
def test_the_largest_event_has_room_for_its_number(make_user: MakeUser) -> None:
    user = make_user()

    def text(length: int) -> str:
        return "y" * length

    notify(user, "x", "")
    room = FRAME_MAX_BYTES - SEQ_MAX_BYTES - len(StoredEvent.objects.get().frame)
    notify(user, "x", text(room))
    largest = StoredEvent.objects.latest("id")
    assert numbered(Stream(largest.stream), "x", largest.frame, "", "e", 2**63 - 1).size == FRAME_MAX_BYTES
    with pytest.raises(BadEvent, match="262"):
        notify(user, "x", text(room + 1))


@pytest.mark.django_db(transaction=True)
def test_a_failure_of_the_outbox_breaks_no_other_hook(
    process: PublishingProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def wake(self, streams: list[Stream]) -> None:
            raise RuntimeError("this outbox is broken")

    process._outbox = Broken()  # type: ignore[assignment]
    monkeypatch.setattr(module, "_is_in_memory", lambda _: False)
    seen = []
    with transaction.atomic():
        notify(EVERYONE, "x")
        transaction.on_commit(lambda: seen.append("other hook"))
    assert seen == ["other hook"]
    assert "this outbox is broken" in caplog.text
    assert stored() == [("all", "x")]


@pytest.mark.django_db(transaction=True)
def test_a_database_in_memory_has_no_room_for_a_second_connection(process: PublishingProcess) -> None:
    assert connection.is_in_memory_db()  # type: ignore[attr-defined]
    notify(EVERYONE, "x")
    assert stored() == [("all", "x")]
    assert process._outbox is None


@pytest.mark.usefixtures("woken_by_class")
class TestInsideDjangosTestCase(TestCase):
    """A TestCase never commits: nothing leaves, and nothing waits."""

    woken: Woken

    def test_the_row_is_there_and_nothing_leaves(self) -> None:
        notify(EVERYONE, "x")
        assert stored() == [("all", "x")]
        assert self.woken == []

    def test_its_hooks_may_be_run(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            notify(EVERYONE, "x")
        assert len(callbacks) == 1
        # The row is not committed, so another connection would look for it in vain.
        assert self.woken == []


@pytest.mark.usefixtures("woken_by_class")
class TestInsideATransactionTestCase(TransactionTestCase):
    """Here it commits."""

    woken: Woken

    def test_it_leaves(self) -> None:
        with transaction.atomic():
            notify(EVERYONE, "x")
        assert self.woken == [["all"]]


@pytest.fixture
def woken_by_class(request: pytest.FixtureRequest, woken: Woken) -> None:
    """Hands the wake-ups to a test class of Django's."""
    request.cls.woken = woken
