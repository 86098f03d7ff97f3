"""What the unit tests share: users, signed tokens, a publisher that remembers (docs/architecture.md)."""

import threading
import time
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from apps.realtime.brokers.base import Settled
from apps.realtime.core.events import Event
from apps.realtime.core.names import Stream
from apps.realtime.models import SignIn
from apps.realtime.publishing import process as publishing_module
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.pytest_plugin import captured_events  # noqa: F401 - what projects get by the wheel
from apps.realtime.signin import password_digest
from apps.realtime.tokens import issue_token
from apps.realtime.topics import TopicRegistry, TopicRule, topic

_THREAD_END_SECS = 10.0

MakeUser = Callable[..., Any]
MakeToken = Callable[..., str]
Woken = list[list[Stream]]


@pytest.fixture(autouse=True)
def _close_connections_of_threads() -> Iterator[None]:
    """Close what other threads have opened: for a database in memory, `connections.close_all` does not.

    A thread of a pool first has to end, as it does once its pool is shut down and its last question is answered: SQLite
    crashes when a connection is closed under a statement.
    """
    opened: list[tuple[threading.Thread, BaseDatabaseWrapper]] = []

    def remember(connection: BaseDatabaseWrapper, **_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            opened.append((threading.current_thread(), connection))

    connection_created.connect(remember)
    yield
    connection_created.disconnect(remember)
    for thread, connection in opened:
        # Ours; that of `sync_to_async` never ends, and is idle when its caller is.
        if thread.name.startswith("message-flow"):
            thread.join(_THREAD_END_SECS)
            assert not thread.is_alive(), f"{thread.name} was not ended by its test and may be using the database"
        connection.inc_thread_sharing()
        BaseDatabaseWrapper.close(connection)
        connection.dec_thread_sharing()


class RecordingPublisher:
    """A publisher whose events stay where a test can see them.

    Attributes:
        events: what was published, oldest first.
        problem: what the health check is told.
        answer: what it says at once of an event whose outcome somebody wants to know; None for nothing.
        unanswered: the events of which it said nothing, each with whom to tell.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.problem: str | None = None
        self.answer: bool | None = True
        self.unanswered: list[tuple[Event, Settled]] = []

    def start(self) -> None:
        """Nothing to connect."""

    def publish(self, event: Event, settled: Settled | None = None) -> None:
        self.events.append(event)
        if settled is None:
            return
        if self.answer is None:
            self.unanswered.append((event, settled))
        else:
            settled(event, self.answer)

    def flush(self, timeout_secs: float) -> bool:
        return not self.unanswered

    def close(self, timeout_secs: float) -> None:
        """Nothing to disconnect."""


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> PublishingProcess:
    """A publishing process of this test's own, in the place of the site's."""
    process = PublishingProcess()
    monkeypatch.setattr(apps.get_app_config("message_flow"), "publishing", process)
    return process


@pytest.fixture
def published(process: PublishingProcess) -> RecordingPublisher:
    """Remembers what is pushed."""
    publisher = RecordingPublisher()
    process._publisher = publisher
    return publisher


class RecordingOutbox:
    """Remembers what it was woken for."""

    def __init__(self) -> None:
        self.woken: Woken = []

    def wake(self, streams: list[Stream]) -> None:
        self.woken.append(streams)


@pytest.fixture
def woken(process: PublishingProcess, monkeypatch: pytest.MonkeyPatch) -> Woken:
    """The streams of each wake-up, on a database that claims to be a file."""
    outbox = RecordingOutbox()
    process._outbox = outbox  # type: ignore[assignment]
    monkeypatch.setattr(publishing_module, "is_in_memory", lambda _: False)
    return outbox.woken


@topic("news")
def may_read_news(user: Any) -> bool:
    """Open to every user."""
    return True


@topic("order-{id}")
def may_follow_order(user: Any, id: str) -> bool:
    """Order 1 belongs to everybody, the rule for `boom` is broken."""
    if id == "boom":
        raise RuntimeError("this rule is broken")
    return id == "1"


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> TopicRegistry:
    """The topics `news` and `order-{id}`, in the place of the site's."""
    rules: list[TopicRule] = [may_read_news, may_follow_order]
    registry = TopicRegistry(rules)
    monkeypatch.setattr(apps.get_app_config("message_flow"), "topics", registry)
    return registry


@pytest.fixture
def make_user() -> MakeUser:
    """Saves a user; the test asks for the database."""

    def make(name: str = "alice", **fields: Any) -> Any:
        return get_user_model().objects.create_user(username=name, password=f"password of {name}", **fields)

    return make


@pytest.fixture
def make_token() -> MakeToken:
    """Signs a token as `/socket_auth_token` does, with a sign-in behind it."""

    def make(user: Any, *, mark: str | None = None, now: float | None = None) -> str:
        if mark is None:
            mark = token_hex(16)
            SignIn.touch(mark, str(user.pk), password_digest(user))
        return issue_token(
            user_id=str(user.pk),
            username=user.get_username(),
            mark=mark,
            password=password_digest(user),
            now=time.time() if now is None else now,
        ).text

    return make
