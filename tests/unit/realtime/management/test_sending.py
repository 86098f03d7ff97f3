"""What a shell is told about the event that it has sent (docs/commands.md)."""

import pytest
from django.core.management import CommandError
from django.db.models.functions import Now

from apps.realtime import EVERYONE
from apps.realtime.management import sending
from apps.realtime.management.sending import parsed, send_durable, send_ephemeral
from apps.realtime.models import StoredEvent
from apps.realtime.publishing.process import PublishingProcess
from tests.unit.conftest import RecordingPublisher


class Outbox:
    """Stands in for the outbox's thread, which a database in memory has no room for."""

    def __init__(self, confirms: bool) -> None:
        self.confirms = confirms

    def wake(self, streams: object) -> None:
        """Nothing to wake."""

    def flush(self, timeout_secs: float) -> bool:
        if self.confirms:
            StoredEvent.objects.update(confirmed_at=Now())
        return self.confirms


def test_a_confirmed_event_was_published(published: RecordingPublisher) -> None:
    assert send_ephemeral(EVERYONE, "x", None) == "published x"
    assert [event.seq for event in published.events] == [0]


def test_an_event_that_the_broker_refuses_is_no_success(published: RecordingPublisher) -> None:
    published.answer = False
    with pytest.raises(CommandError, match="may have reached nobody: the broker refused it"):
        send_ephemeral(EVERYONE, "x", None)
    published.problem = "the broker is away"
    with pytest.raises(CommandError, match="may have reached nobody: the broker is away"):
        send_ephemeral(EVERYONE, "x", None)


def test_an_event_that_nobody_confirms_is_no_success(
    published: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_SECS", 0.01)
    published.answer, published.problem = None, "the broker is away"
    with pytest.raises(CommandError, match="not confirmed within 0 s: the broker is away"):
        send_ephemeral(EVERYONE, "x", None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("confirms", "problem", "line"),
    [
        (True, None, "stored and published x"),
        (False, "it is away", "stored x, which a relay will publish: it is away"),
        (False, None, "stored x, which a relay will publish: not confirmed within 5 s"),
    ],
)
def test_a_durable_event_is_stored_in_any_case(
    published: RecordingPublisher, process: PublishingProcess, confirms: bool, problem: str | None, line: str
) -> None:
    process._outbox = Outbox(confirms)  # type: ignore[assignment]
    published.problem = problem
    assert send_durable(EVERYONE, "x", {"n": 1}, title=None, url=None) == (line, confirms)
    assert StoredEvent.objects.count() == 1


@pytest.mark.django_db
def test_what_earlier_ones_wait_for_is_not_its_business(
    published: RecordingPublisher, process: PublishingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process._outbox = Outbox(confirms=False)  # type: ignore[assignment]
    send_durable(EVERYONE, "x", None, title=None, url=None)
    outbox = process._outbox = Outbox(confirms=True)  # type: ignore[assignment]
    first = StoredEvent.objects.get()

    def flush(timeout_secs: float) -> bool:
        StoredEvent.objects.exclude(id=first.id).update(confirmed_at=Now())
        return True

    monkeypatch.setattr(outbox, "flush", flush)
    assert send_durable(EVERYONE, "x", None, title=None, url=None) == ("stored and published x", True)


@pytest.mark.parametrize("text", ["", "{n: 1}", "1 2"])
def test_data_is_json(text: str) -> None:
    assert parsed('{"n": [1, null]}') == {"n": [1, None]}
    with pytest.raises(CommandError, match="is no JSON"):
        parsed(text)
