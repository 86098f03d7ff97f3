"""What `/readyz` finds out (docs/health.md)."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError, connections
from django.http import HttpRequest

from apps.realtime import health
from apps.realtime.health import NODE_SCOPE_KEY, DatabaseProbe
from apps.realtime.publishing.process import PublishingProcess
from tests.unit.conftest import RecordingPublisher


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the database's probe."""
    probe = SimpleNamespace(problem=lambda: None)
    monkeypatch.setattr(apps.get_app_config("message_flow"), "database_probe", probe)
    return probe


def request_at(node: Any = None) -> HttpRequest:
    request = HttpRequest()
    if node is not None:
        request.scope = {NODE_SCOPE_KEY: node}  # type: ignore[attr-defined]
    return request


def a_node(*, draining: bool = False, problem: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(draining=draining, listener_problem=problem, database=SimpleNamespace(problem=None))


def test_a_web_process_needs_database_and_publisher(probe: Any, published: RecordingPublisher) -> None:
    assert health.problems(request_at()) == {"database": None, "broker": None}


def test_a_node_needs_its_listener_and_a_publisher_only_once_it_published(
    probe: Any, process: PublishingProcess
) -> None:
    assert health.problems(request_at(a_node())) == {"database": None, "listener": None}
    process._publisher = RecordingPublisher()
    assert health.problems(request_at(a_node())) == {"database": None, "broker": None, "listener": None}


def test_a_node_whose_sockets_get_no_answer_is_not_ready_although_the_probe_does(
    probe: Any, published: RecordingPublisher
) -> None:
    node = a_node()
    node.database.problem = "no answer within 5 s"
    assert health.problems(request_at(node))["database"] == "no answer within 5 s"


def test_a_listener_that_hears_nothing_is_named(probe: Any, published: RecordingPublisher) -> None:
    found = health.problems(request_at(a_node(problem="not connected yet")))
    assert found["listener"] == "not connected yet"


def test_a_node_that_drains_takes_no_more(probe: Any, published: RecordingPublisher) -> None:
    assert health.problems(request_at(a_node(draining=True)))["listener"] == "going down"


# The probe ---------------------------------------------------------------------------------------


class Connection:
    """A database connection that answers when it is told to."""

    def __init__(self, error: Exception | None = None, until: threading.Event | None = None) -> None:
        self._error = error
        self._until = until
        self.asked = 0
        self.closed = 0

    def cursor(self) -> "Connection":
        return self

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *args: object) -> None:
        """Nothing to give back."""

    def execute(self, sql: str) -> None:
        self.asked += 1
        if self._until is not None:
            self._until.wait(30)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed += 1


def use(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> None:
    monkeypatch.setattr(health, "connections", {"default": connection})


def test_a_database_that_answers_is_fine_and_its_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection()
    use(monkeypatch, connection)
    assert DatabaseProbe().problem() is None
    assert (connection.asked, connection.closed) == (1, 1)


def test_an_error_is_named_by_kind_and_forgotten_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = DatabaseProbe()
    use(monkeypatch, Connection(OperationalError("password of user shop at 10.0.0.5")))
    assert probe.problem() == "OperationalError"
    use(monkeypatch, Connection())
    assert probe.problem() is None


def test_the_database_of_durable_events_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    own, events = Connection(), Connection(OperationalError("gone"))
    monkeypatch.setattr(health, "connections", {"default": own, "events": events})
    monkeypatch.setattr(health, "realtime_settings", lambda: SimpleNamespace(database="events"))
    assert DatabaseProbe().problem() == "OperationalError"
    assert (own.asked, own.closed, events.asked, events.closed) == (1, 1, 1, 1)


def test_a_database_that_hangs_is_asked_once_and_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "DATABASE_TIMEOUT_SECS", 0.05)
    release = threading.Event()
    connection = Connection(until=release)
    use(monkeypatch, connection)
    probe = DatabaseProbe()
    assert probe.problem() == "no answer within 0.05 s"
    assert probe.problem() == "no answer within 0.05 s"
    assert connection.asked == 1
    monkeypatch.setattr(health, "DATABASE_TIMEOUT_SECS", 10)
    release.set()
    assert probe.problem() is None


@pytest.mark.django_db(transaction=True)
def test_it_leaves_the_caller_s_connection_alone() -> None:
    connections["default"].ensure_connection()
    assert DatabaseProbe().problem() is None
    assert connections["default"].connection is not None
