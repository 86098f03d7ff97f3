"""Asks every node which sockets it has, or to close some (docs/commands.md, "How nodes answer")."""

from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

from django.db import transaction
from django.db.models import DurationField, Exists, ExpressionWrapper, F, OuterRef, QuerySet
from django.db.models.functions import Now

from ..conf import realtime_settings
from ..core.control import Asked
from ..core.live import LiveSession, loaded
from ..node_models import GONE_AFTER, KEPT, LiveNode, NodeAnswer, NodeRequest
from ..tracing import new_mid
from .process import publishing_process
from .push import publish_after_commit

# A node that hears of it answers in some 10 ms; one that has to look by itself as it has no broker, in a second.
WAIT_SECS: Final = 2.5
_LOOK_EVERY_SECS: Final = 0.05


@dataclass(frozen=True, slots=True)
class SilentNode:
    """A node that has not answered in time; `seen_secs` ago it wrote to the database."""

    name: str
    seen_secs: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the nodes of the site have said.

    Attributes:
        sessions: those that connected last first, 500 of a node at most.
        total: how many there are, of the nodes that answered.
        kicked: how many were closed.
        answered: how many nodes did.
        silent: those that run and did not.
        problem: why they may not have heard of it from this process; None when nothing is known.
    """

    sessions: list[LiveSession]
    total: int
    kicked: int
    answered: int
    silent: list[SilentNode]
    problem: str | None


def list_sessions(user_id: str | None = None, *, within_secs: float = WAIT_SECS) -> Report:
    """The open sockets of all nodes, or those of one user. Waits until all nodes have answered, or for `within_secs`.

    Raises:
        RuntimeError: called in a transaction, which would keep the request from the nodes.
        django.db.Error: the database gave no answer.
    """
    return _ask(NodeRequest(kind=NodeRequest.Kind.SESSIONS, user_id=user_id), within_secs)


def kick(*, user_id: str | None = None, sid: str | None = None, within_secs: float = WAIT_SECS) -> Report:
    """Close the sockets that a user has open now, or one session, with 4503: its page stops. It may be loaded again.

    Exactly one of the two is to be given. A node that does not answer in time closes them when it looks by itself,
    within 30 s.

    Raises:
        ValueError: none is given, or both.
        RuntimeError, django.db.Error: as `list_sessions`.
    """
    if (user_id is None) == (sid is None):
        raise ValueError("give a user or a session")
    return _ask(NodeRequest(kind=NodeRequest.Kind.KICK, user_id=user_id, sid=sid), within_secs)


def forget_old() -> None:
    """Take away requests, answers and nodes that nobody needs any more.

    Raises:
        django.db.Error: the database gave no answer.
    """
    alias = realtime_settings().database
    NodeRequest.objects.using(alias).filter(created_at__lt=Now() - KEPT).delete()
    NodeAnswer.objects.using(alias).filter(created_at__lt=Now() - KEPT).delete()
    LiveNode.objects.using(alias).filter(seen_at__lt=Now() - KEPT).delete()


def _ask(request: NodeRequest, within_secs: float) -> Report:
    alias = realtime_settings().database
    with transaction.atomic(using=alias, durable=True):
        request.save(using=alias)
    publish_after_commit([Asked().event(new_mid())], alias)
    answers = NodeAnswer.objects.using(alias).filter(request_id=request.id)
    mute = LiveNode.objects.using(alias).filter(
        ~Exists(answers.filter(node_id=OuterRef("id"))), seen_at__gt=Now() - GONE_AFTER
    )
    deadline = monotonic() + within_secs
    while mute.exists() and monotonic() < deadline:
        sleep(_LOOK_EVERY_SECS)
    return _report(answers, _silent(mute))


def _silent(mute: QuerySet[LiveNode]) -> list[SilentNode]:
    age = ExpressionWrapper(Now() - F("seen_at"), DurationField())
    rows = mute.order_by("name").annotate(age=age).values_list("name", "age")
    return [SilentNode(name, age.total_seconds()) for name, age in rows]


def _report(answers: QuerySet[NodeAnswer], silent: list[SilentNode]) -> Report:
    rows = list(answers)
    sessions = [session for row in rows for session in loaded(row.sessions)]
    return Report(
        sessions=sorted(sessions, key=lambda one: one.since, reverse=True),
        total=sum(row.total for row in rows),
        kicked=sum(row.kicked for row in rows),
        answered=len(rows),
        silent=silent,
        problem=publishing_process().publisher.problem if silent else None,
    )
