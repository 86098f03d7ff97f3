"""`notify` wherever a project may call it, on real parts (docs/publishing.md)."""

import asyncio
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops.services import Postgres, Process, RabbitMQ, free_port, wait_for
from ops.services.ports import answers
from tests.services.rigs.clients import Tab
from tests.services.rigs.pgbouncer import pgbouncer
from tests.services.rigs.site import BIN, PASSWORD, ROOT, Node, Site

DEADLINE_SECS = 30.0
# Requests that are timed with a fault of the broker, and as many without.
SAMPLES = 30
IMPORTS = """
import os, sys, threading
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from apps.realtime import EVERYONE, Topic, anotify, notify
from apps.realtime.models import StoredEvent
from apps.realtime.publishing.process import publishing_process
alice, bob = (get_user_model().objects.get(username=name) for name in ("alice", "bob"))
"""


class Table:
    """The stored events of a site."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres = postgres
        self._database = database

    def events(self) -> list[str]:
        """The ids in the order of their streams."""
        return self._rows("SELECT event_id FROM message_flow_storedevent ORDER BY stream, seq, id")

    def left(self) -> list[str]:
        """Those that the broker has not confirmed."""
        return self._rows("SELECT event_id, seq FROM message_flow_storedevent WHERE confirmed_at IS NULL")

    def free(self) -> int:
        """How many of them nobody holds."""
        unconfirmed = "SELECT 1 FROM message_flow_storedevent WHERE confirmed_at IS NULL"
        return len(self._rows(f"{unconfirmed} AND leased_until <= statement_timestamp()"))

    def wait_confirmed(self, count: int, deadline_secs: float = DEADLINE_SECS) -> None:
        """Until there are so many events and the broker has them all."""
        wait_for(
            lambda: (len(self.events()), self.left()) == (count, []), deadline_secs, f"{count} events are confirmed"
        )

    def _rows(self, statement: str) -> list[str]:
        return self._postgres.sql(statement, self._database).splitlines()


@pytest.fixture
def table(postgres: Postgres, database_url: str) -> Table:
    """What the site has stored."""
    return Table(postgres, urlsplit(database_url).path.lstrip("/"))


def run(site: Site, program: str) -> str:
    """A process of its own that runs the program and ends."""
    return site.manage("shell", "-v0", "-c", IMPORTS + program)


def test_a_shell_that_ends_at_once_has_published(site: Site, table: Table) -> None:
    run(site, "notify(alice, 'shell/ENDED', 1)")
    assert (table.events(), table.left()) == (["shell/ENDED"], [])


def test_a_shell_that_ends_without_a_broker_leaves_it_to_the_relay_within_seconds(
    site: Site, table: Table, unused_tcp_port: int
) -> None:
    site.env["AMQP_URL"] = f"amqp://127.0.0.1:{unused_tcp_port}/"
    shown = run(site, "import time; notify([alice, bob], 'shell/ENDED', 1); print(time.time(), flush=True)")
    # 2 s for the outbox, half of one for the publisher's goodbye, and what the machine needs to end a process.
    assert time.time() - float(shown) < 5
    assert table.left() == ["shell/ENDED|1", "shell/ENDED|1"]
    # Free at once: nobody waits for a lease to run out.
    assert table.free() == 2


def test_threads_each_in_a_transaction_of_their_own(site: Site, table: Table) -> None:
    run(
        site,
        """
def work(number):
    try:
        with transaction.atomic():
            for position in range(10):
                notify([alice, bob], f"thread/{number}-{position}")
            if number == 3:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    finally:
        connection.close()

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert publishing_process().outbox.flush(20)
""",
    )
    events = table.events()
    assert table.left() == []
    assert len(events) == 140
    for number in range(8):
        mine = [event for event in events if event.startswith(f"thread/{number}-")]
        expected = [f"thread/{number}-{position}" for position in range(10)]
        # Each of the two users has them in the order of the calls.
        assert mine == ([] if number == 3 else expected * 2)


def test_before_and_after_a_fork(site: Site, table: Table) -> None:
    run(
        site,
        """
import multiprocessing
notify(alice, "fork/PARENT")
assert publishing_process().outbox.flush(20)
connection.close()
child = os.fork()
if child == 0:
    notify(alice, "fork/CHILD")
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
notify(alice, "fork/PARENT AGAIN")
assert publishing_process().outbox.flush(20)

def work():
    notify(alice, "fork/MULTIPROCESSING")

connection.close()
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join(20)
assert child.exitcode == 0
""",
    )
    assert table.left() == []
    assert table.events() == ["fork/PARENT", "fork/CHILD", "fork/PARENT AGAIN", "fork/MULTIPROCESSING"]


def test_in_an_async_view(site: Site, table: Table) -> None:
    run(
        site,
        """
import asyncio
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

async def view(request):
    await anotify([alice, bob.pk], "async/VIEW", {"n": 1})
    try:
        notify(alice, "async/SYNC")
    except Exception as error:
        return HttpResponse(str(error))

urls = sys.modules["urls_of_the_test"] = type(sys)("urls_of_the_test")
urls.urlpatterns = [path("view/", view)]
with override_settings(ROOT_URLCONF="urls_of_the_test", ALLOWED_HOSTS=["testserver"], MIDDLEWARE=[]):
    answer = asyncio.run(AsyncClient().get("/view/"))
assert "await anotify" in answer.content.decode(), answer.content
""",
    )
    assert table.events() == ["async/VIEW", "async/VIEW"]
    assert table.left() == []


_CELERY = """
import os
import django
from celery import Celery
django.setup()
from apps.realtime import EVERYONE, notify
app = Celery("tasks", broker=os.environ["AMQP_URL"])
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)

@app.task
def tell(number):
    notify(EVERYONE, f"celery/{number}", {"n": number})
"""


def test_in_a_celery_worker(site: Site, table: Table, tmp_path: Path) -> None:
    """Prefork: its children are forked from a process that has set Django up, and end without atexit."""
    (tmp_path / "tasks_of_the_test.py").write_text(_CELERY)
    env = {**site.env, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = f"{BIN}/celery -A tasks_of_the_test worker --pool prefork -c 2 --without-mingle --without-gossip"
    worker = Process(command.split(), tmp_path / "celery.log", env=env, cwd=tmp_path)
    try:
        program = "import tasks_of_the_test as tasks\nfor number in range(20): tasks.tell.delay(number)"
        subprocess.run([BIN / "python", "-c", program], env=env, cwd=tmp_path, check=True, timeout=60)
        table.wait_confirmed(20, 60)
        assert sorted(table.events()) == sorted(f"celery/{number}" for number in range(20))
    finally:
        status = worker.stop()
        print(worker.tail())
    assert status == 0


_WSGI = """
import os
import django
django.setup()
from django.db import connection
from apps.realtime import EVERYONE, notify

def tell(event):
    notify(EVERYONE, event)
    connection.close()  # as Django does at the end of a request

tell("gunicorn/MASTER")

def application(environ, start_response):
    tell(f"gunicorn/{os.getpid()}")
    start_response("200 OK", [])
    return [b""]
"""


def test_in_gunicorn_with_preload_from_32_threads(site: Site, table: Table, tmp_path: Path) -> None:
    """Its workers are forked from a process that has published already and goes on living."""
    (tmp_path / "wsgi_of_the_test.py").write_text(_WSGI)
    port = free_port()
    command = f"{BIN}/gunicorn --preload --workers 2 --threads 16 --no-control-socket --bind 127.0.0.1:{port}"
    env = {**site.env, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    server = Process(
        [*command.split(), "wsgi_of_the_test:application"], tmp_path / "gunicorn.log", env=env, cwd=tmp_path
    )

    def visit(_: int) -> None:
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE_SECS) as answer:
                assert answer.status == 200

    try:
        booted = lambda: server.log.read_text().count("Booting worker") == 2 and answers(port)  # noqa: E731
        wait_for(booted, DEADLINE_SECS, "both workers are there", [server.log])
        with ThreadPoolExecutor(32) as visitors:
            list(visitors.map(visit, range(32)))
        table.wait_confirmed(1 + 32 * 5)
    finally:
        status = server.stop()
        print(server.tail())
    assert status == 0
    events = table.events()
    assert events[0] == "gunicorn/MASTER"
    # Both workers served.
    assert len(set(events)) == 3


def test_behind_a_pgbouncer_in_transaction_mode(site: Site, table: Table, postgres: Postgres, tmp_path: Path) -> None:
    folder = tmp_path / "pgbouncer"
    folder.mkdir()
    with pgbouncer(folder, postgres) as port:
        url = site.env["DATABASE_URL"]
        site.env["DATABASE_URL"] = url.replace(f":{postgres.port}/", f":{port}/")
        run(
            site,
            """
def work(number):
    for position in range(10):
        with transaction.atomic():
            notify([alice, bob, EVERYONE], f"thread/{number}-{position}")
    connection.close()

threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert publishing_process().outbox.flush(30)
""",
        )
        site.env["DATABASE_URL"] = url
    table.wait_confirmed(180)


_DJANGO_TESTS = """
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from apps.realtime import EVERYONE, notify
from apps.realtime.models import StoredEvent, Stream
from apps.realtime.publishing.process import publishing_process

class InATestCase(TestCase):
    def test_rows_are_seen_and_nothing_leaves(self):
        notify(EVERYONE, "x")
        self.assertEqual(StoredEvent.objects.get().seq, None)

    def test_hooks_may_run(self):
        with self.captureOnCommitCallbacks(execute=True):
            notify(EVERYONE, "x")
        self.assertFalse(publishing_process().started)
        self.assertFalse(Stream.objects.exists())

class InATransactionTestCase(TransactionTestCase):
    def test_it_commits_and_leaves(self):
        with transaction.atomic():
            notify(EVERYONE, "x")
        self.assertTrue(publishing_process().outbox.flush(20))
        self.assertTrue(StoredEvent.objects.get().confirmed_at)

    def test_it_need_not_be_waited_for(self):
        notify(EVERYONE, "x")
"""


def test_under_django_s_own_test_runner(site: Site, tmp_path: Path) -> None:
    """Nothing hangs, and the runner can drop its database right after the last test."""
    (tmp_path / "test_of_a_project.py").write_text(_DJANGO_TESTS)
    site.manage("test", "test_of_a_project", "--no-input", env={"PYTHONPATH": str(tmp_path)})


# What a request pays -----------------------------------------------------------------------------

# How a fault begins, how it ends, and in how many parts it is measured.
Disturbance = tuple[Callable[[], object], Callable[[], object], int]


@pytest.fixture
def disturb(broker: RabbitMQ) -> Iterator[dict[str, Disturbance]]:
    """The faults of the broker by their names."""

    def alarm(share: float) -> Callable[[], object]:
        return lambda: broker.set_memory_watermark(share)

    def start() -> None:
        broker.start()
        broker.wait_ready()

    yield {
        "frozen": (broker.freeze, broker.thaw, 6),
        "alarm": (alarm(0.00001), alarm(0.6), 3),
        "down": (broker.stop, start, 1),
    }
    alarm(0.6)()


@pytest.mark.alone
async def test_a_request_that_notifies_takes_no_longer_whatever_the_broker_does(
    site: Site,
    node: Callable[[int], list[Node]],
    table: Table,
    disturb: dict[str, Disturbance],
) -> None:
    [server] = node(1)
    alice, bob = server.person("alice", PASSWORD), server.person("bob", PASSWORD)
    tab = await Tab.open(server.websocket, alice.token)
    posted = 0

    def cost() -> float:
        """Of a request that notifies, a comment on alice's article, in units of one that only reads.

        One right after the other: whatever else the machine does meets both.
        """
        nonlocal posted
        before = time.perf_counter()
        assert bob.get("/demo/articles/1/").status == 200
        between = time.perf_counter()
        assert bob.post("/demo/articles/1/comments/", {"text": "still here"}).status == 200
        posted += 1
        return (time.perf_counter() - between) / (between - before)

    async def several(count: int) -> list[float]:
        return [await asyncio.to_thread(cost) for _ in range(count)]

    await several(3)  # the first one connects
    ratios = {}
    for name, (begin, end, rounds) in disturb.items():
        # In turn, so that a busy minute of the machine meets both.
        up, disturbed = [], []
        for _ in range(rounds):
            up += await several(SAMPLES // rounds)
            await asyncio.to_thread(begin)
            try:
                disturbed += await several(SAMPLES // rounds)
            finally:
                await asyncio.to_thread(end)
        ratios[name] = statistics.median(disturbed) / statistics.median(up)
    print(ratios)
    assert max(ratios.values()) < 1.3, ratios
    await asyncio.to_thread(table.wait_confirmed, 2 * posted, 60)
    # Each once and in order.
    events = await tab.wait_for_events(posted, deadline_secs=60)
    added = [event["seq"] for event in events if event["id"] == "comment/ADDED"]
    assert added == list(range(1, posted + 1))
    await tab.close()
