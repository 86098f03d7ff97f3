"""The relay as a program: how it begins and ends (docs/relay.md)."""

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError

from apps.realtime.management import relaying
from apps.realtime.models import StoredEvent, Stream
from tests.unit.conftest import RecordingPublisher
from tests.unit.systemd import Manager


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Puts the signal handlers back."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.django_db
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(published: RecordingPublisher, number: signal.Signals) -> None:
    lines: list[str] = []

    def started(line: str) -> None:
        lines.append(line)
        threading.Timer(0.1, signal.raise_signal, [number]).start()

    relaying.relay(started)
    assert lines == ["relay: from database 'default' to the in-process broker of a server on this machine"]


@pytest.mark.django_db
def test_systemd_hears_that_it_is_ready_and_lives(
    published: RecordingPublisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager = Manager(tmp_path)
    for name, value in manager.environment(watchdog_secs=60).items():
        monkeypatch.setenv(name, value)
    relaying.relay(lambda line: None, once=True)
    first, *others = manager.everything()
    assert first == "READY=1"
    assert set(others) == {"WATCHDOG=1"}
    manager.close()


@pytest.mark.django_db
def test_once_fails_when_something_is_left(published: RecordingPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "ONCE_SECS", 0.2)
    Stream.objects.create(name="all", epoch="e1", head=1)
    StoredEvent.objects.create(stream="all", epoch="e1", seq=1, mid="m", event_id="x", frame="{}")
    published.answer, published.problem = False, "the broker is away"
    with pytest.raises(CommandError, match="something is left to do: the broker is away"):
        relaying.relay(lambda line: None, once=True)


def test_a_port_that_is_taken_is_said_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CommandError, match=f"--metrics-port {port}: Address already in use"):
            relaying.relay(lambda line: None, metrics_port=port)
