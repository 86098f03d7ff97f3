"""Who asks all nodes, and what is made of their answers (docs/commands.md, "How nodes answer")."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries

from apps.realtime.core.control import Asked, message_of
from apps.realtime.core.live import LiveSession, dumped
from apps.realtime.node_models import GONE_AFTER, KEPT, LiveNode, NodeAnswer, NodeRequest
from apps.realtime.publishing.asking import forget_old, kick, list_sessions
from tests.unit.conftest import RecordingPublisher

pytestmark = pytest.mark.django_db


def session(sid: str, since: float) -> LiveSession:
    return LiveSession("host:1", sid, "7", "alice", "v1", since, (), 0, 0, 0, None)


class Nodes:
    """Nodes that answer while the asker waits: one at each of its looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[dict[str, Any]] = []
        self.waits = 0
        monkeypatch.setattr("apps.realtime.publishing.asking.sleep", self._wait)

    def add(self, name: str, sessions: Iterable[LiveSession] = (), total: int = 0, kicked: int = 0) -> None:
        LiveNode.objects.create(id=name, name=name)
        self.answers.append({"node_id": name, "sessions": dumped(sessions), "total": total, "kicked": kicked})

    def _wait(self, secs: float) -> None:
        self.waits += 1
        if self.answers:
            request = NodeRequest.objects.order_by("-id")[0]
            NodeAnswer.objects.create(request_id=request.id, **self.answers.pop(0))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, published: RecordingPublisher) -> Nodes:
    return Nodes(monkeypatch)


@pytest.mark.django_db(transaction=True)
def test_the_answers_of_all_nodes_become_one(nodes: Nodes, published: RecordingPublisher) -> None:
    old, new, newest = session("a", 1), session("b", 2), session("c", 3)
    nodes.add("one", [newest, old], total=700)
    nodes.add("two", [new], total=1)
    report = list_sessions()
    assert report.sessions == [newest, new, old]
    assert (report.total, report.kicked, report.answered, report.silent, report.problem) == (701, 0, 2, [], None)
    assert nodes.waits == 2
    request = NodeRequest.objects.get()
    assert (request.kind, request.user_id, request.sid) == ("sessions", None, None)
    assert [message_of(event) for event in published.events] == [Asked()]


@pytest.mark.parametrize("which", [{"user_id": "7"}, {"sid": "0" * 16}])
def test_a_kick_is_of_a_user_or_of_a_session(nodes: Nodes, which: dict[str, Any]) -> None:
    nodes.add("one", kicked=2, total=2)
    nodes.add("two", kicked=1, total=1)
    assert kick(**which).kicked == 3
    row = {"user_id": None, "sid": None} | which
    assert NodeRequest.objects.filter(kind="kick", **row).count() == 1


@pytest.mark.parametrize("which", [{}, {"user_id": "7", "sid": "0" * 16}])
def test_a_kick_of_nobody_or_of_both_is_a_mistake(nodes: Nodes, which: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a user or a session"):
        kick(**which)
    assert not NodeRequest.objects.exists()


def test_a_list_may_be_of_one_user(nodes: Nodes) -> None:
    list_sessions("7")
    assert NodeRequest.objects.get().user_id == "7"
    assert nodes.waits == 0  # there is no node


def test_who_does_not_answer_is_named_with_what_may_be_the_reason(nodes: Nodes, published: RecordingPublisher) -> None:
    nodes.add("one", total=1)
    LiveNode.objects.create(id="two", name="two", seen_at=Now() - timedelta(seconds=40))
    LiveNode.objects.create(id="gone", name="gone", seen_at=Now() - GONE_AFTER - timedelta(seconds=5))
    published.problem = "it refuses"
    report = list_sessions(within_secs=0.05)
    assert (report.answered, report.problem) == (1, "it refuses")
    [silent] = report.silent
    assert silent.name == "two"
    assert 40 <= silent.seen_secs < 50


def test_one_look_is_one_query(nodes: Nodes, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    nodes.add("one")
    # Savepoint, request, release; two looks and the answer that falls between them; answers, who is silent.
    with django_assert_num_queries(9):
        list_sessions()


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_no_node_would_see_the_request(published: RecordingPublisher) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        list_sessions()
    assert published.events == []


def test_what_is_old_is_taken_away() -> None:
    for created_at in (Now(), Now() - KEPT - timedelta(seconds=5)):
        request = NodeRequest.objects.create(kind="sessions", created_at=created_at)
        NodeAnswer.objects.create(
            request_id=request.id, node_id="n", sessions="[]", total=0, kicked=0, created_at=created_at
        )
        LiveNode.objects.create(id=str(request.id), name="n", seen_at=created_at)
    forget_old()
    assert [model.objects.count() for model in (NodeRequest, NodeAnswer, LiveNode)] == [1, 1, 1]
    forget_old()
    assert NodeRequest.objects.get().id == NodeAnswer.objects.get().request_id
