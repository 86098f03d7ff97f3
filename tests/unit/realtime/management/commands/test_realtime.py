"""`manage.py realtime publish|notify|tail|sessions|kick|inspect|relay|rotate-epoch` (docs/commands.md)."""

import json
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from apps.realtime.brokers.memory import MemoryListener
from apps.realtime.history import deployment_epoch
from apps.realtime.models import StoredEvent, Stream
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.topics import TopicRegistry
from tests.signing import SIGNER
from tests.unit.conftest import MakeUser, RecordingPublisher

ROOT = Path(__file__).resolve().parents[5]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("realtime", *arguments, stdout=out)
    return out.getvalue()


# publish -----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_it_publishes_to_a_user_by_name(published: RecordingPublisher, make_user: MakeUser) -> None:
    alice = make_user("alice")
    out = run("publish", "--user", "alice", "--id", "EXAMPLE ID", "--data", '{"n": 1}')
    assert "published EXAMPLE ID" in out
    [event] = published.events
    assert event.stream == f"user.{alice.pk}"
    assert json.loads(event.frame)["data"] == {"n": 1}


def test_it_publishes_to_everyone_and_to_a_topic(published: RecordingPublisher, topics: TopicRegistry) -> None:
    run("publish", "--everyone", "--id", "x")
    run("publish", "--topic", "order-7", "--id", "x")
    assert [event.stream for event in published.events] == ["all", "topic.order-7"]
    assert [json.loads(event.frame)["data"] for event in published.events] == [None, None]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("publish",),
        ("publish", "--id", "x"),
        ("publish", "--everyone"),
        ("publish", "--everyone", "--topic", "news", "--id", "x"),
        ("publish", "--user", "alice", "--everyone", "--id", "x"),
        ("publish", "--everyone", "--id"),
        ("notify", "--everyone"),
        ("tail",),
        ("watch", "--everyone"),
        ("relay", "--metrics-port", "x"),
        ("rotate-epoch", "--stream"),
        ("kick",),
        ("inspect",),
        ("inspect", "alice", "--as", "sid"),
        ("sessions", "alice", "--as", "sid"),
        ("sessions", "alice", "bob"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(published: RecordingPublisher, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)
    assert published.events == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--user", "nobody", "--id", "x"), "no user is called 'nobody'"),
        (("--everyone", "--id", "x", "--data", "{n: 1}"), "is no JSON"),
        (("--everyone", "--id", "x", "--data", "NaN"), "is no JSON"),
        (("--everyone", "--id", "x", "--data", ""), "is no JSON"),
        (("--everyone", "--id", "AUTH OK"), "reserved by the protocol"),
        (("--everyone", "--id", ""), "not empty"),
        (("--topic", "nope", "--id", "x"), "no topic is declared for 'nope'"),
        (("--topic", "", "--id", "x"), "no topic is declared for ''"),
    ],
)
def test_what_cannot_be_published_is_said_in_a_line(
    published: RecordingPublisher, topics: TopicRegistry, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        run("publish", *arguments)
    assert "\n" not in str(caught.value)
    assert published.events == []


def test_without_a_server_the_in_process_broker_says_so(process: PublishingProcess) -> None:
    with pytest.raises(CommandError, match="no node runs in this process"):
        run("publish", "--everyone", "--id", "x")


async def test_with_a_server_in_the_process_it_succeeds(process: PublishingProcess) -> None:
    listener = MemoryListener(process.exchange, None, SIGNER)
    listener.start(lambda event: None)
    assert "published x" in run("publish", "--everyone", "--id", "x")
    await listener.close()


def test_at_the_shell_an_error_is_a_line_and_a_status() -> None:
    """A user who mistypes sees no traceback."""
    done = subprocess.run(
        [sys.executable, "manage.py", "realtime", "publish", "--everyone", "--id", "AUTH OK"],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "CommandError: the event id 'AUTH OK' is reserved by the protocol: choose another one"
    ]


# tail --------------------------------------------------------------------------------------------


def test_tail_without_a_broker_says_what_to_set(topics: TopicRegistry) -> None:
    with pytest.raises(CommandError, match="AMQP_URL"):
        run("tail", "--everyone")


def test_tail_refuses_an_undeclared_topic_first(topics: TopicRegistry) -> None:
    with pytest.raises(CommandError, match="no topic is declared"):
        run("tail", "--topic", "nope")


# notify ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_notify_stores_an_event_for_a_user_by_name(published: RecordingPublisher, make_user: MakeUser) -> None:
    alice = make_user("alice")
    out = run(
        *("notify", "--user", "alice", "--id", "EXAMPLE ID", "--data", '{"n": 1}'),
        *("--title", "An example", "--url", "/example"),
    )
    assert "stored EXAMPLE ID" in out
    [row] = StoredEvent.objects.all()
    assert row.stream == f"user.{alice.pk}"
    event = json.loads(row.frame)
    assert (event["data"], event["title"], event["url"]) == ({"n": 1}, "An example", "/example")


@pytest.mark.django_db
def test_notify_refuses_what_publish_refuses(published: RecordingPublisher) -> None:
    with pytest.raises(CommandError, match="reserved by the protocol"):
        run("notify", "--everyone", "--id", "AUTH OK")
    assert not StoredEvent.objects.exists()


# sessions, kick, inspect --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_where_no_node_runs_there_is_nothing_to_see_and_nothing_to_kick(
    published: RecordingPublisher, make_user: MakeUser
) -> None:
    alice = make_user("alice")
    assert run("sessions") == run("sessions", "alice") == "0 sessions on 0 nodes\n"
    assert run("kick", "alice") == f"closed 0 sockets of the user of key {alice.pk} on 0 nodes\n"
    assert run("kick", "0" * 16, "--as", "sid") == f"closed 0 sockets of the session {'0' * 16} on 0 nodes\n"
    assert run("inspect", "alice").startswith(f"user {alice.pk} alice: active")
    assert len(published.events) == 5


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["sessions", "kick", "inspect"])
def test_who_does_not_exist_is_said_in_a_line(published: RecordingPublisher, command: str) -> None:
    with pytest.raises(CommandError, match="no user is called 'nobody', or has that key"):
        run(command, "nobody")
    with pytest.raises(CommandError, match="a name has 1 to 255 characters"):
        run(command, "x" * 300, "--as", "key")
    assert published.events == []


# relay -------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_relay_once_ends_when_nothing_is_left(published: RecordingPublisher) -> None:
    StoredEvent.objects.create(stream="all", mid="m", event_id="x", frame="{}", created_at=Now() - timedelta(hours=1))
    out = run("relay", "--once")
    assert out == "relay: from database 'default' to the in-process broker of a server on this machine\n"
    assert [(event.stream, event.seq) for event in published.events] == [("all", 1)]


# rotate-epoch ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_rotate_epoch_ends_all_numberings_or_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Stream.objects.create(name="user.1", epoch="e1", head=3)
    Stream.objects.create(name="user.2", epoch="e1", head=3)
    out = run("rotate-epoch", "--stream", "user.1", "--yes")
    assert Stream.objects.get(name="user.1").epoch in out
    assert set(Stream.objects.values_list("name", "head")) == {("user.1", 0), ("user.2", 3)}
    out = run("rotate-epoch", "--yes")
    assert "for the deployment and 3 streams" in out  # with that of `all`, by which nodes notice
    assert {deployment_epoch()} == set(Stream.objects.values_list("epoch", flat=True))
    assert deployment_epoch() in out


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("terminal", "answer", "rotates"), [(True, "y", True), (True, "", False), (True, "n", False), (False, "y", False)]
)
def test_rotate_epoch_asks_somebody_first(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, answer: str, rotates: bool
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("builtins.input", ask)
    before = deployment_epoch()
    if rotates:
        run("rotate-epoch")
    else:
        with pytest.raises(CommandError, match="nothing was changed" if terminal else "say --yes"):
            run("rotate-epoch")
    assert (deployment_epoch() != before) is rotates
    assert len(asked) == terminal


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "alice", "user.", "user.*", "user.a.b"])
def test_rotate_epoch_refuses_what_is_no_stream(name: str) -> None:
    with pytest.raises(CommandError, match="is no stream"):
        run("rotate-epoch", "--yes", "--stream", name)
    assert not Stream.objects.exists()
