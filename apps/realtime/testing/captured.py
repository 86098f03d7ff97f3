"""`capture_events`: what a test's code has sent, and to whom (docs/testing.md)."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.signals import request_started
from django.utils.asyncio import async_unsafe

from ..publishing.targets import Recipient, streams_of
from ..topics import topic_registry
from .browser import Browser
from .events import CapturedEvent, listed, shown
from .process import CapturingProcess
from .site import Site

# Data may be None.
_ANY: Any = object()
_ASYNC = "This uses the database. In async code: `await sync_to_async(…)(…)`."


class Captured:
    """What was sent since the beginning of `capture_events`.

    An event counts as soon as the transaction that it belongs to is over, but for the one that a `TestCase` opens
    around each test. What was rolled back was never sent.
    """

    def __init__(self, process: CapturingProcess) -> None:
        self._process = process
        self._site = Site(process)

    @property
    @async_unsafe(_ASYNC)
    def events(self) -> list[CapturedEvent]:
        """All of them: durable ones oldest first, and so are ephemeral ones, which may overtake them."""
        self._process.settle()
        return [CapturedEvent.of(event) for event in self._process.sent]

    def of(self, to: Recipient) -> list[CapturedEvent]:
        """Those sent to a user, `Topic(name)` or `EVERYONE`, or to any of several.

        What was sent to everybody or to a topic is not among those of a user.

        Raises:
            BadRecipient: `to` names nobody.
            UnknownTopic: a topic that no `@topic` pattern declares.
        """
        streams = streams_of(to, topic_registry())
        return [event for event in self.events if event.stream in streams]

    def assert_notified(self, to: Recipient, id: str, *, data: Any = _ANY, times: int | None = None) -> None:
        """Every one of `to` was sent this, by `notify` or `push`.

        Args:
            data: exactly this; anything that `notify` takes, and objects such as `unittest.mock.ANY`.
            times: exactly so often; at least once where it is left out.

        Raises:
            AssertionError: with what was sent instead.
        """
        for stream in streams_of(to, topic_registry()):
            sent = [event for event in self.events if event.stream == stream and event.id == id]
            matching = sent if data is _ANY else [event for event in sent if event.has(data)]
            if len(matching) == times or (times is None and matching):
                continue
            asked = id if data is _ANY else f"{id} {shown(data)}"
            often = "at least once" if times is None else f"{times} times"
            raise AssertionError(f"{asked} to {stream}: {len(matching)} times, and not {often}.\n{self._sent(stream)}")

    def assert_not_notified(self, to: Recipient, id: str | None = None) -> None:
        """None of `to` was sent anything, or anything with this id.

        Raises:
            AssertionError: with what was sent.
        """
        sent = [event for event in self.of(to) if id in (None, event.id)]
        if sent:
            raise AssertionError(f"{len(sent)} events that should not have been sent:\n{listed(sent)}")

    def clear(self) -> None:
        """Forget what was sent so far: it was the test's preparation."""
        self._process.settle()
        self._process.recorder.events.clear()

    @async_unsafe(_ASYNC)
    def fire_scheduled(self, until: datetime) -> None:
        """Have the time come: what `notify(…, at=)` has scheduled up to then is sent, oldest first, as a relay does.

        Args:
            until: with a time zone.

        Raises:
            BadEvent: it has none.
        """
        self._process.settle()
        self._process.fire_scheduled(until)

    def browser(self, user: Any, *, topics: Sequence[str] = (), since: Mapping[str, Any] | None = None) -> Browser:
        """A tab of a user, for `with` and `async with`.

        Args:
            topics: the names of those that it subscribes to.
            since: the cursor of the page, as `json_with_cursor` answers and `cursor(request)` returns; without one it
                begins with what is sent from now on.
        """
        return Browser(self._site, user, topics, since)

    def force_gap(self, to: Recipient) -> None:
        """End the numbering of the streams of `to`: their tabs cannot go on and are told GAP, now or when they come
        back."""
        self._process.settle()
        for stream in streams_of(to, topic_registry()):
            self._site.end_numbering(stream)

    def force_duplicate(self, to: Recipient) -> None:
        """Have the broker deliver once more what was sent to each of `to` last: as it may, after an interruption.

        Raises:
            AssertionError: nothing was sent to them.
        """
        self._process.settle()
        for stream in streams_of(to, topic_registry()):
            copies = [event for event in self._process.sent if event.stream == stream]
            if not copies:
                raise AssertionError(f"Nothing was sent to {stream} that could come twice.\n{self._sent(stream)}")
            self._process.exchange.route(copies[-1])

    def _sent(self, stream: str) -> str:
        sent = self.events
        here = [event for event in sent if event.stream == stream]
        others = [event for event in sent if event.stream != stream]
        return f"Sent to {stream}:\n{listed(here)}\nSent to others:\n{listed(others)}"


@async_unsafe("capture_events() has to be around the event loop: call it in setUp, or use the fixture captured_events.")
def _require_no_loop() -> None:
    pass


@contextmanager
def capture_events() -> Iterator[Captured]:
    """Keep what is sent in this block instead of publishing it. The database is the test's own to roll back.

        with capture_events() as captured:
            client.post("/orders/5/ship/")
        captured.assert_notified(alice, "order/SHIPPED", data={"order": 5})

    In async code it has to be around the event loop: in `setUp`, or as the fixture.

    Raises:
        RuntimeError: somebody captures already.
    """
    _require_no_loop()
    config: Any = apps.get_app_config("message_flow")
    before = config.publishing
    if isinstance(before, CapturingProcess):
        raise RuntimeError("events are captured already: use the object that the outer capture_events() gave")
    process = config.publishing = CapturingProcess()
    captured = Captured(process)
    thread = threading.get_ident()

    def before_request(**kwargs: Any) -> None:
        # A page's cursor holds what was committed before the request.
        if threading.get_ident() == thread and not process.in_block:
            process.settle()

    request_started.connect(before_request)
    try:
        if not process.in_block:
            captured.clear()
        yield captured
    finally:
        request_started.disconnect(before_request)
        config.publishing = before
        captured._site.close()
