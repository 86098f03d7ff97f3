"""The one publisher of a process (docs/publishing.md)."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.apps import apps

from apps.realtime.brokers.base import Publisher
from apps.realtime.brokers.choice import make_publisher
from apps.realtime.brokers.memory import Exchange, MemoryPublisher
from apps.realtime.conf import RealtimeSettings
from apps.realtime.publishing.process import PublishingProcess, publishing_process


def test_nothing_is_made_before_the_first_event() -> None:
    process = PublishingProcess()
    started_before = process.started
    publisher = process.publisher
    assert isinstance(publisher, MemoryPublisher)
    assert (started_before, process.started) == (False, True)
    assert process.publisher is publisher


def test_many_threads_get_one_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(conf: RealtimeSettings, exchange: Exchange) -> Publisher:
        made.append(make_publisher(conf, exchange))
        return made[-1]

    monkeypatch.setattr("apps.realtime.publishing.process.make_publisher", make)
    process = PublishingProcess()
    with ThreadPoolExecutor(16) as pool:
        publishers = set(pool.map(lambda _: process.publisher, range(200)))
    assert len(publishers) == len(made) == 1


def test_it_lives_in_the_app_s_config() -> None:
    assert publishing_process() is apps.get_app_config("message_flow").publishing  # type: ignore[attr-defined]


def test_many_threads_get_one_outbox_and_it_has_the_publisher() -> None:
    process = PublishingProcess()
    with ThreadPoolExecutor(16) as pool:
        outboxes = set(pool.map(lambda _: process.outbox, range(200)))
    assert outboxes == {process.outbox}
    assert process.outbox._publisher is process.publisher
