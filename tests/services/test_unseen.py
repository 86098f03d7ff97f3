"""Who is told of notifications that no tab has acknowledged, with two relays (docs/unseen.md)."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.models.functions import Now
from django.test import override_settings
from django.utils import timezone
from pytest_django.plugin import DjangoDbBlocker

from apps.realtime import EVERYONE, cancel_scheduled, notification_unseen, notify
from apps.realtime.conf import realtime_settings
from apps.realtime.core.names import Stream
from apps.realtime.core.resume import Cursor
from apps.realtime.models import Acknowledged, InboxItem, StoredEvent, Unseen
from apps.realtime.models import Stream as StreamRow
from apps.realtime.publishing import unseen as module
from apps.realtime.publishing.scheduled import fire_due
from apps.realtime.publishing.unseen import UnseenWatch
from apps.realtime.unseen.acknowledged import write_acknowledged
from ops.services import Postgres, Process, wait_for
from tests.services.rigs.clients import Tab
from tests.services.rigs.database import library_database
from tests.services.rigs.site import BIN, PASSWORD, ROOT, Node, Site
from tests.services.rigs.threads import Worker

# A node writes down what was acknowledged each quarter of it, however busy the machine is.
AFTER_SECS = 8


@pytest.fixture(params=["postgresql", "sqlite"])
def alias(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database is a new one, of each kind."""
    on_postgresql = request.param == "postgresql"
    url = request.getfixturevalue("database_url") if on_postgresql else f"sqlite:///{tmp_path / 'db.sqlite3'}"
    with (
        django_db_blocker.unblock(),
        library_database(url) as alias,
        override_settings(REALTIME_UNSEEN_AFTER_SECS=AFTER_SECS),
    ):
        if not on_postgresql:
            call_command("migrate", database=alias, verbosity=0)
        yield alias


def store_due(alias: str, users: int, items: int) -> None:
    """Each user's items are numbered and due."""
    rows = [
        (f"user.{user}", user, seq, f"{user:016x}{seq:016x}") for user in range(users) for seq in range(1, items + 1)
    ]
    StreamRow.objects.using(alias).bulk_create(
        StreamRow(name=f"user.{user}", epoch="e1", head=items) for user in range(users)
    )
    StoredEvent.objects.using(alias).bulk_create(
        StoredEvent(stream=stream, epoch="e1", seq=seq, mid=mid, event_id="x", frame="{}", confirmed_at=Now())
        for stream, _, seq, mid in rows
    )
    InboxItem.objects.using(alias).bulk_create(
        InboxItem(stream=stream, user_id=str(user), mid=mid, event_id="x", title=str(seq))
        for stream, user, seq, mid in rows
    )
    due_at = Now() - timedelta(seconds=1)
    Unseen.objects.using(alias).bulk_create(Unseen(stream=stream, mid=mid, due_at=due_at) for stream, _, _, mid in rows)


def test_two_relays_and_many_nodes_send_each_user_one_signal(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The users are elsewhere, and in no thread's reach.
    monkeypatch.setattr(module, "_active_user", lambda user_id: user_id)
    users, items = 60, 5
    store_due(alias, users, items)
    told: list[tuple[str, int]] = []
    by: Counter[int] = Counter()

    def receive(user: Any, count: int, **kwargs: Any) -> None:
        told.append((user, count))
        by[threading.get_ident()] += 1

    def acknowledge() -> None:
        # Two nodes for each, in different orders, one of them behind the other.
        for seq in (3, 5, 4):
            write_acknowledged({Stream(f"user.{user}"): Cursor("e1", seq) for user in range(0, users, 2)})

    nodes = [Worker(acknowledge) for _ in range(2)]
    for node in nodes:
        node.start()
    for node in nodes:
        node.finish()
    assert set(Acknowledged.objects.using(alias).values_list("seq", flat=True)) == {5}
    watches = [UnseenWatch(realtime_settings()) for _ in range(2)]
    notification_unseen.connect(receive)
    try:
        relays = [Worker(watch.turn, again=True) for watch in watches]
        for relay in relays:
            relay.start()
        wait_for(lambda: not Unseen.objects.using(alias).exists(), 60, "everything is told")
        for relay in relays:
            relay.finish()
    finally:
        notification_unseen.disconnect(receive)
    assert sorted(told) == sorted((str(user), items) for user in range(1, users, 2))
    assert sum(by.values()) == users // 2


@pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
def test_each_question_goes_by_an_index(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tables where reading them whole takes long: what waits in them is not due."""
    monkeypatch.setattr(module, "_active_user", lambda user_id: user_id)
    mid = "md5(owner || '-' || seq)"
    many = "generate_series(1001, 2000) AS owner, generate_series(1, 20) AS seq"
    with connections[alias].cursor() as cursor:
        for statement in (
            "message_flow_stream (name, epoch, head, floor) "
            "SELECT 'user.' || owner, 'e1', 20, 0 FROM generate_series(1001, 2000) AS owner",
            "message_flow_acknowledged (stream, epoch, seq) "
            "SELECT 'user.' || owner, 'e1', 20 FROM generate_series(1001, 2000) AS owner",
            "message_flow_storedevent (stream, epoch, seq, mid, event_id, frame, confirmed_at) "
            f"SELECT 'user.' || owner, 'e1', seq, {mid}, 'x', '{{}}', now() FROM {many}",
            "message_flow_inboxitem (stream, user_id, mid, event_id, title, url) "
            f"SELECT 'user.' || owner, owner, {mid}, 'x', 't', '' FROM {many}",
            "message_flow_unseen (stream, mid, due_at) "
            f"SELECT 'user.' || owner, {mid}, now() + interval '1 hour' FROM {many}",
            "message_flow_scheduledevent (handle, due_at, event_id, data, targets) "
            f"SELECT {mid}, now() + interval '1 hour', 'x', '1', '[[\"all\", null]]' FROM {many}",
        ):
            cursor.execute(f"INSERT INTO {statement}")
        cursor.execute("ANALYZE")
    store_due(alias, users=2, items=5)
    write_acknowledged({Stream("user.0"): Cursor("e1", 3)})
    notify(EVERYONE, "x", at=timezone.now())
    cancelled = notify(EVERYONE, "x", at=timezone.now())
    plans: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
            with connections[alias].connection.cursor() as cursor:
                plans.extend(line for (line,) in cursor.execute("EXPLAIN " + sql, params).fetchall())
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(explain):
        assert UnseenWatch(realtime_settings()).turn() is False
        assert cancel_scheduled(cancelled)
        assert fire_due() is False
    assert Unseen.objects.using(alias).count() == 20_000
    assert StoredEvent.objects.using(alias).filter(stream="all").count() == 1
    assert len(plans) > 40
    # Whoever has muted something is a small table.
    whole = [line for line in plans if "Seq Scan on message_flow_" in line and "mute" not in line]
    assert not whole, "\n".join(plans)


@pytest.fixture
def relays(site: Site) -> Iterator[list[Process]]:
    """Two of `manage.py realtime relay`, on the settings of a site that sends digests."""
    site.env.update(
        REALTIME_UNSEEN_AFTER_SECS=str(AFTER_SECS),
        REALTIME_UNSEEN_DIGEST="1",
        REALTIME_SITE_URL="https://example.com",
        # Mails are printed.
        PYTHONUNBUFFERED="1",
    )
    command = [str(BIN / "python"), "manage.py", "realtime", "relay"]
    relays = [Process(command, site.folder / f"relay-{n}.log", env=site.env, cwd=ROOT) for n in range(2)]
    yield relays
    for relay in relays:
        if relay.running:
            relay.kill9()


def test_who_has_acknowledged_gets_no_mail_and_everybody_else_one(
    site: Site, relays: list[Process], node: Callable[[int], list[Node]], postgres: Postgres, database_url: str
) -> None:
    asyncio.run(_tell_three(site, node(2)))
    database = database_url.rpartition("/")[2]
    logs = [relay.log for relay in relays]
    unseen = "SELECT count(*) FROM message_flow_unseen"
    wait_for(lambda: postgres.sql(unseen, database).strip() == "0", 60, "all is decided", logs)
    fired = "SELECT count(*) FROM message_flow_storedevent WHERE event_id = 'order/RATE'"
    assert postgres.sql(fired, database).strip() == "3"
    for relay in relays:
        assert relay.stop() == 0
    printed = "".join(log.read_text() for log in logs)
    addresses = [line for line in printed.splitlines() if line.startswith("To: ")]
    # Alice has no tab, and carol's says nothing.
    assert sorted(addresses) == ["To: alice@example.com", "To: carol@example.com"]
    assert printed.count("Subject: 2 unread notifications") == 2
    assert printed.count("https://example.com/orders/5") == 4
    assert "Traceback" not in printed


async def _tell_three(site: Site, nodes: list[Node]) -> None:
    people = [await asyncio.to_thread(nodes[0].person, name, PASSWORD) for name in ("bob", "carol")]
    program = (
        "from datetime import timedelta\n"
        "from django.contrib.auth import get_user_model\n"
        "from django.utils import timezone\n"
        "from apps.realtime import notify\n"
        "users = get_user_model().objects.filter(username__in=['alice', 'bob', 'carol'])\n"
        "for n in (4, 5):\n"
        "    notify(users, 'order/SENT', n, title=f'Order {n}', url=f'/orders/{n}')\n"
        "notify(users, 'order/RATE', 4, at=timezone.now() + timedelta(seconds=1))\n"
    )
    async with (
        await Tab.open(nodes[0].websocket, people[0].token) as bob,
        await Tab.open(nodes[1].websocket, people[1].token) as carol,
    ):
        carol.acks = False
        await asyncio.to_thread(site.shell, program)
        # Two relays fire what was scheduled, and each tab on either node gets it once.
        for tab in (bob, carol):
            await tab.wait_for_event("order/RATE")
            assert tab.ids == ["order/SENT", "order/SENT", "order/RATE"]
