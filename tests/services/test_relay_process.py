"""The relay as a process: killed at any step, through outages, inside a server (docs/relay.md)."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from apps.realtime.brokers.rabbitmq.topology import EXCHANGE, EXCHANGE_TYPE
from ops.services import Postgres, Process, RabbitMQ, wait_for
from tests.services.rigs.clients import Tab
from tests.services.rigs.site import BIN, PASSWORD, ROOT, Node, Site

# Two turns of a relay, which ends itself with SIGKILL before its n-th step: a statement, a hand-over to the publisher,
# an outcome. Each child of the loop does so one step later, until one gets through. After each a relay that lives, and
# comes when the leases have run out, has to leave nothing undone.
_DIE_AT_EACH_STEP = """
import os, signal, time
from datetime import timedelta
from django.db import connection
from django.db.models.functions import Now
from apps.realtime.conf import realtime_settings
from apps.realtime.models import ScheduledEvent, StoredEvent, Stream
from apps.realtime.publishing.process import publishing_process
from apps.realtime.publishing.relay import Relay

FRAME = '{"id":"x","data":null,"stream":"STREAM"}'

def store(stream, seqs, **fields):
    StoredEvent.objects.bulk_create(
        StoredEvent(stream=stream, seq=seq, mid="m", event_id="x", frame=FRAME.replace("STREAM", stream), **fields)
        for seq in seqs
    )

def later(n):
    # Two: a step may lie between them.
    for event_id in ("a", "b"):
        ScheduledEvent.objects.create(
            handle=f"{n}{event_id}", due_at=Now(), event_id=event_id, data="1", targets=[[f"topic.later-{n}", None]]
        )

def live(n):
    old = Now() - timedelta(hours=1)
    store(f"user.new-{n}", [None, None], created_at=Now() - timedelta(seconds=60))
    later(n)
    Stream.objects.create(name=f"user.left-{n}", epoch="e1", head=6)
    store(f"user.left-{n}", range(1, 7), epoch="e1")
    store(f"user.left-{n}", range(1, 3), epoch="e0", created_at=old)
    left = [n]

    def step():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def statement(execute, *rest):
        step()
        return execute(*rest)

    publisher = publishing_process().publisher
    publisher.start()
    while publisher.problem is not None:
        time.sleep(0.01)
    publish = publisher.publish
    publisher.publish = lambda *event: (step(), publish(*event))
    relay = Relay(realtime_settings(), publisher)
    settled = relay._settled
    relay._settled = lambda *outcome: (step(), settled(*outcome))
    with connection.execute_wrapper(statement):
        relay._turn()
        while len(relay._outcomes) < len(relay._in_flight):
            relay._wait(0.01)
        relay._turn()
    os._exit(0 if relay.problem is None else 1)

statuses = []
while not statuses or os.WIFSIGNALED(statuses[-1]):
    connection.close()
    pid = os.fork()
    if pid == 0:
        live(len(statuses))
    statuses.append(os.waitpid(pid, 0)[1])
    # The time until it counts as abandoned.
    StoredEvent.objects.filter(leased_until__isnull=False).update(leased_until=Now() - timedelta(seconds=1))
    StoredEvent.objects.filter(seq=None).update(created_at=Now() - timedelta(seconds=60))
    problem = Relay(realtime_settings(), publishing_process().publisher).run_once(30)
    assert problem is None, problem
    assert not ScheduledEvent.objects.exists()
    assert publishing_process().outbox.flush(30)
    assert not StoredEvent.objects.filter(confirmed_at=None).exists()
print(len(statuses), os.WEXITSTATUS(statuses[-1]))
"""


class Ear:
    """A durable queue that hears every stream, also through a restart of the broker."""

    def __init__(self, url: str) -> None:
        self._url = url
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, EXCHANGE_TYPE, durable=True)
        channel.queue_declare("ear", durable=True)
        channel.queue_bind("ear", EXCHANGE, "#")
        connection.close()

    def heard(self) -> list[tuple[str, int]]:
        """Stream and seq of what has come since the last call."""
        connection = pika.BlockingConnection(pika.URLParameters(self._url))
        channel = connection.channel()
        heard: list[tuple[str, int]] = []
        while True:
            _, _, body = channel.basic_get("ear", auto_ack=True)
            if body is None:
                connection.close()
                return heard
            frame = json.loads(body)
            heard.append((frame["stream"], frame["seq"]))


@pytest.fixture
def ear(amqp_url: str) -> Ear:
    return Ear(amqp_url)


@pytest.fixture
def relay(site: Site) -> Iterator[Callable[[], Process]]:
    """Starts `manage.py realtime relay`."""
    started: list[Process] = []

    def start() -> Process:
        command = [str(BIN / "python"), "manage.py", "realtime", "relay"]
        started.append(Process(command, site.folder / "relay.log", env=site.env, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        if process.running:
            process.kill9()


def test_a_relay_that_is_killed_at_any_step_leaves_nothing_undone(
    site: Site, ear: Ear, postgres: Postgres, database_url: str
) -> None:
    env = {"REALTIME_HISTORY_MAX_EVENTS": "2", "REALTIME_HISTORY_MAX_AGE_SECS": "600"}
    done = _shell(site, _DIE_AT_EACH_STEP, env)
    assert done.returncode == 0, done.stderr
    lives, status = map(int, done.stdout.split())
    assert status == 0
    # Fewer, and it was not killed at each step.
    assert lives > 20
    kept = _rows(postgres, database_url, "SELECT stream, epoch = 'e1', seq FROM message_flow_storedevent")
    expected = [f"user.left-{life}|t|{seq}" for life in range(lives) for seq in (5, 6)]
    expected += [f"user.new-{life}|f|{seq}" for life in range(lives) for seq in (1, 2)]
    # Each once.
    expected += [f"topic.later-{life}|f|{seq}" for life in range(lives) for seq in (1, 2)]
    assert sorted(kept) == sorted(expected)
    heads = _rows(postgres, database_url, "SELECT name, head, floor FROM message_flow_stream")
    assert sorted(heads) == sorted(
        row
        for life in range(lives)
        for row in (f"user.left-{life}|6|4", f"user.new-{life}|2|0", f"topic.later-{life}|2|0")
    )
    heard = set(ear.heard())
    assert heard >= {(f"user.left-{life}", 6) for life in range(lives)} | {
        (name, 2) for life in range(lives) for name in (f"user.new-{life}", f"topic.later-{life}")
    }


def test_it_goes_on_after_outages_of_broker_and_database(
    site: Site,
    relay: Callable[[], Process],
    ear: Ear,
    broker: RabbitMQ,
    postgres: Postgres,
    database_url: str,
) -> None:
    # A process that the end of its patience finds on a busy machine leaves its leases to run out.
    site.env["REALTIME_LEASE_SECS"] = "5"
    process = relay()
    broker.kill9()
    _notify(site, 3)
    _notify(site, 2)
    [alice] = _rows(postgres, database_url, "SELECT 'user.' || id FROM auth_user WHERE username = 'alice'")
    wait_for(lambda: "Events cannot leave" in process.tail(), 30, "it notices", [process.log])
    broker.start()
    broker.wait_ready()
    unconfirmed = "SELECT seq FROM message_flow_storedevent WHERE confirmed_at IS NULL"
    wait_for(lambda: not _rows(postgres, database_url, unconfirmed), 60, "all is confirmed", [process.log])
    # The newest wakes the nodes, and stands for those before it.
    heard = ear.heard()
    assert (alice, 5) in heard
    assert len(heard) < 5

    postgres.kill9()
    wait_for(lambda: "The relay is stuck" in process.tail(), 30, "it notices", [process.log])
    postgres.start()
    postgres.wait_ready()
    wait_for(lambda: "The relay works again" in process.tail(), 30, "it works again", [process.log])
    _rows(
        postgres,
        database_url,
        "INSERT INTO message_flow_storedevent (stream, mid, event_id, frame, created_at) "
        f"VALUES ('{alice}', 'm', 'x', '{{\"id\":\"x\",\"stream\":\"{alice}\"}}', now() - interval '1 hour')",
    )
    wait_for(lambda: ear.heard() == [(alice, 6)], 10, "the next one is published", [process.log])

    assert process.stop() == 0
    log = process.log.read_text()
    # A line for each change, not for each attempt.
    assert log.count("The relay is stuck") == log.count("The relay works again")
    assert "Traceback" not in log


def test_in_a_server_with_the_in_process_broker_it_publishes_what_a_shell_could_not(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        {
            "AMQP_URL": "",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
            "DEBUG": "1",
            "DJANGO_SETTINGS_MODULE": "tests.browser.site_settings",
            "PYTHONPATH": str(ROOT),
            "TEST_LOCAL_SOCKET": str(tmp_path / "realtime.sock"),
        },
    )
    try:
        site.manage("migrate", "--verbosity=0")
        site.manage("demo_users")
        node = site.node()
        asyncio.run(_watch(site, node))
        assert node.stop() == 0
        assert "Traceback" not in site.logs()
    finally:
        site.close()
        print(site.logs())


async def _watch(site: Site, node: Node) -> None:
    person = await asyncio.to_thread(node.person, "alice", PASSWORD)
    async with await Tab.open(node.websocket, person.token) as tab:
        for event_id, more, after, elsewhere in (
            ("handed/OVER", "", "", False),
            ("was/SCHEDULED", ", at=timezone.now() + timedelta(seconds=1)", "", True),
            # Nobody listens at the socket that this shell knows.
            ("could/NOT", "", "", True),
            ("was/KILLED", "", "os.kill(os.getpid(), signal.SIGKILL)", True),
        ):
            program = (
                "import os, signal\n"
                "from datetime import timedelta\n"
                "from django.utils import timezone\n"
                "from django.contrib.auth import get_user_model\n"
                "from apps.realtime import notify\n"
                f"notify(get_user_model().objects.get(username='alice'), {event_id!r}{more})\n{after}"
            )
            env = {"TEST_LOCAL_SOCKET": str(site.folder / "nobody.sock")} if elsewhere else {}
            shell = asyncio.create_task(asyncio.to_thread(_shell, site, program, env))
            frame = await tab.wait_for_event(event_id, 20)
            # Two seconds at most until a row counts as abandoned, and half a second between two looks. The rest is for
            # a busy machine: without the relay the node would find it after 30.
            assert time.time() - frame["ts"] < 12
            assert (await shell).returncode == (-signal.SIGKILL if after else 0)
        assert [event["seq"] for event in tab.events] == [1, 2, 3, 4]


def _shell(site: Site, program: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "python"), "manage.py", "shell", "-v0", "-c", program]
    return subprocess.run(
        command, env={**site.env, **env}, cwd=ROOT, timeout=300, capture_output=True, text=True, check=False
    )


def _notify(site: Site, count: int) -> None:
    """From a process that ends before the broker is back."""
    site.manage(
        *("shell", "-v0", "-c"),
        "from django.contrib.auth import get_user_model\n"
        "from apps.realtime import notify\n"
        "alice = get_user_model().objects.get(username='alice')\n"
        f"for number in range({count}):\n    notify(alice, 'tests/EVENT', number)\n",
    )


def _rows(postgres: Postgres, database_url: str, statement: str) -> list[str]:
    return postgres.sql(statement, database_url.rpartition("/")[2]).splitlines()
