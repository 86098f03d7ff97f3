"""`manage.py realtime publish` and `tail` (docs/commands.md)."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.realtime.brokers.memory import MemoryListener
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
        ("tail",),
        ("watch", "--everyone"),
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


def test_what_is_not_confirmed_is_no_success(published: RecordingPublisher) -> None:
    published.flushes = False
    published.problem = "the broker is away"
    with pytest.raises(CommandError, match="not confirmed within 5 s: the broker is away"):
        run("publish", "--everyone", "--id", "x")
    published.flushes = True
    with pytest.raises(CommandError, match="may have reached nobody: the broker is away"):
        run("publish", "--everyone", "--id", "x")


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
