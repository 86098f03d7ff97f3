"""One id from the request to the browser (docs/logs.md)."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime import EVERYONE, notify, push, tracing
from apps.realtime.models import StoredEvent
from apps.realtime.publishing.sequencer import number
from apps.realtime.tracing import begin, end, new_mid, request_id, step
from tests.unit.conftest import RecordingPublisher

REQUEST = "0123456789abcdef" * 2


@contextmanager
def serving(claimed: str | None) -> Iterator[str]:
    """A request."""
    yield begin(claimed)
    end()


def is_hex(text: str) -> bool:
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def test_a_mid_begins_as_the_id_of_its_request_and_is_its_own() -> None:
    with serving(REQUEST):
        mids = {new_mid() for _ in range(100)}
    assert len(mids) == 100
    assert all(is_hex(mid) and mid.startswith(REQUEST[:16]) for mid in mids)


def test_outside_a_request_a_mid_begins_as_it_likes() -> None:
    assert request_id() == ""
    mids = {new_mid()[:16] for _ in range(100)}
    assert len(mids) == 100


@pytest.mark.parametrize("claimed", [REQUEST, REQUEST.upper(), "01234567-89ab-cdef-0123-456789abcdef"])
def test_the_proxys_id_is_taken(claimed: str) -> None:
    with serving(claimed) as id:
        assert id == request_id() == REQUEST
    assert request_id() == ""


@given(st.none() | st.text() | st.just(REQUEST + "0") | st.just(REQUEST[1:]))
def test_any_other_text_is_replaced(claimed: str | None) -> None:
    with serving(claimed) as id:
        assert is_hex(id)
        assert id != claimed


def test_each_thread_serves_its_own_request() -> None:
    seen: list[str] = []
    with serving(REQUEST):
        thread = threading.Thread(target=lambda: seen.append(request_id()))
        thread.start()
        thread.join()
    assert seen == [""]


@pytest.mark.django_db(transaction=True)
def test_one_search_finds_every_step_of_what_a_request_published(
    published: RecordingPublisher, woken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, tracing.logger.name)
    with serving(REQUEST):
        notify(EVERYONE, "news/PUBLISHED", {"n": 1})
        push(EVERYONE, "cursor/MOVED")
    [durable] = number(woken[0])
    [ephemeral] = published.events
    assert [record.getMessage() for record in caplog.records] == [
        f"stored: 'news/PUBLISHED' for all, mid '{durable.mid}'",
        f"pushed: 'cursor/MOVED' for all, mid '{ephemeral.mid}'",
        f"numbered 1: 'news/PUBLISHED' for all, mid '{durable.mid}'",
    ]
    mids = [durable.mid, StoredEvent.objects.get().mid, ephemeral.mid, json.loads(durable.frame)["mid"]]
    assert [mid[:16] for mid in mids] == [REQUEST[:16]] * 4


def test_steps_are_silent_by_default_and_say_what_they_are_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, tracing.logger.name)
    assert not tracing.enabled()
    step("written to 3 sockets", "all", "x", "m")
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, tracing.logger.name)
    step("written to 3 sockets", "all", "x\ny", "m")
    [record] = caplog.records
    assert record.getMessage() == r"written to 3 sockets: 'x\ny' for all, mid 'm'"
    assert (vars(record)["stream"], vars(record)["event"], vars(record)["mid"]) == ("all", "x\ny", "m")
