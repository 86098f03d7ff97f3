"""The inbox on PostgreSQL and on two nodes: one count for every tab, and none is slow (docs/inbox.md)."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from apps.realtime.conf import realtime_settings
from apps.realtime.core.events import UNREAD_MAX, EventTemplate
from apps.realtime.history import deployment_epoch
from apps.realtime.inbox import changes, listing
from apps.realtime.models import InboxItem, StoredEvent, Stream
from apps.realtime.publishing.inbox_retention import InboxPruner
from apps.realtime.publishing.sequencer import number
from apps.realtime.publishing.store import store
from apps.realtime.publishing.targets import Target, user_target
from apps.realtime.publishing.unread import Change, counted
from tests.services.rigs.clients import Frame, Tab
from tests.services.rigs.database import library_database
from tests.services.rigs.pair import Pair
from tests.services.rigs.people import Person
from tests.services.rigs.threads import Worker

# What users may wait for.
COUNT_WITHIN_SECS = 1.0
IMPORT = "from apps.realtime import notify\n"
JSON = {"Accept": "application/json"}


@pytest.fixture
def alias(database_url: str, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database is a new one on PostgreSQL."""
    with django_db_blocker.unblock(), library_database(database_url) as alias:
        deployment_epoch()
        yield alias


def tell(target: Target, title: str, group: str | None = None) -> None:
    """As `notify`, to a user who need not exist."""
    store(EventTemplate("x", None, json.JSONEncoder, title=title, group=group), [target])


def number_all(target: Target) -> None:
    """Beside the outbox of this process, which does the same."""
    while number([target.stream]):
        pass


# On PostgreSQL alone -----------------------------------------------------------------------------


def test_concurrent_notifications_of_a_group_leave_one(alias: str) -> None:
    """Transactions that begin, commit and are numbered in any order, while the user reads and hides what there is."""
    target = user_target("1")
    numbers = iter(range(10_000))

    def tell_slowly() -> None:
        for _ in range(40):
            with transaction.atomic(using=alias):
                tell(target, f"{next(numbers)} comments", "article-1")
                time.sleep(0.002)

    def look_after() -> None:
        mids = [item.mid for item in listing.page(target.stream).items]
        undo = changes.read_all(target)
        if undo is not None:
            changes.undo(target, undo)
        changes.unread(target, mids)

    tellers = [Worker(tell_slowly) for _ in range(3)]
    others = [Worker(lambda: number_all(target), again=True) for _ in range(2)] + [Worker(look_after, again=True)]
    for worker in (*tellers, *others):
        worker.start()
    for worker in (*tellers, *others):
        worker.finish()
    number_all(target)
    assert InboxItem.objects.using(alias).count() == 120
    visible = InboxItem.objects.using(alias).filter(hidden=False)
    assert [item.id for item in visible] == [InboxItem.objects.using(alias).latest("id").id]
    last = StoredEvent.objects.using(alias).filter(stream=target.stream).latest("seq")
    assert last.unread == listing.unread(target.stream) == 1


@pytest.mark.parametrize("commits", [True, False])
def test_numbering_waits_for_nobody_who_holds_items(alias: str, commits: bool) -> None:
    """What was skipped is hidden with the event of who has held it, or with the next one of that inbox."""
    target, other = user_target("1"), user_target("2")
    tell(target, "Old", "article-1")
    number_all(target)

    def tell_more() -> None:
        # Of one batch, with a lock_timeout of 10 s.
        tell(target, "New", "article-1")
        tell(other, "Theirs")
        while number([target.stream, other.stream]):
            pass

    def visible() -> list[str]:
        return [item.title for item in listing.page(target.stream).items]

    def last_count() -> int | None:
        return StoredEvent.objects.using(alias).filter(stream=target.stream).latest("seq").unread

    with transaction.atomic(using=alias):
        changes.read_all(target)
        worker = Worker(tell_more)
        started = time.monotonic()
        with worker:
            pass
        assert time.monotonic() - started < 5
        rows = StoredEvent.objects.using(alias).filter(seq__isnull=False)
        assert sorted(rows.values_list("stream", "unread")) == [("user.1", 1), ("user.1", 2), ("user.2", 1)]
        transaction.set_rollback(not commits, using=alias)
    if not commits:
        assert (visible(), listing.unread(target.stream)) == (["New", "Old"], last_count())
        tell(target, "Another", "article-2")
    number_all(target)
    assert visible() == (["New"] if commits else ["Another", "New"])
    assert last_count() == listing.unread(target.stream) == (1 if commits else 2)
    assert not Stream.objects.using(alias).filter(crowded=True).exists()


def test_times_are_right_without_time_zones(alias: str) -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        tell(user_target("1"), "Hello")
        at = InboxItem.objects.using(alias).get().at
    assert (abs(at - datetime.now(UTC)) < timedelta(minutes=5), at.utcoffset()) == (True, timedelta(hours=9))


def test_two_relays_delete_each_item_once(alias: str) -> None:
    old = 1_200
    InboxItem.objects.using(alias).bulk_create(
        InboxItem(
            stream=f"user.{n % 7}",
            user_id=f"{n % 7}",
            mid=f"{n:032x}",
            event_id="x",
            title="t",
            created_at=Now() - timedelta(days=11 if n < old else 9),
        )
        for n in range(old + 10)
    )
    conf = replace(realtime_settings(), inbox_days=10)

    def prune() -> None:
        pruner = InboxPruner(conf)
        while pruner.turn():
            pass

    relays = [Worker(prune) for _ in range(2)]
    for relay in relays:
        relay.start()
    for relay in relays:
        relay.finish()
    # What one had locked, the other has skipped.
    prune()
    assert InboxItem.objects.using(alias).count() == 10
    told = [json.loads(event.frame)["data"]["hidden"] for event in StoredEvent.objects.using(alias)]
    gone = [mid for mids in told for mid in mids]
    assert len(gone) == len(set(gone)) == old


Scans = list[tuple[str, int]]


@contextmanager
def plans(alias: str) -> Iterator[list[Scans]]:
    """For each SELECT of the block, the indexes that it reads, with the number of rows that it takes from each."""
    found: list[Scans] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith("SELECT"):
            with connections[alias].cursor() as cursor:
                # Below the wrapper.
                cursor.cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                [[plan]] = cursor.fetchall()
            found.append(list(scans(plan)))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(explain):
        yield found


def scans(plan: Any) -> Iterator[tuple[str, int]]:
    waiting = [plan[0]["Plan"]]
    for node in waiting:
        waiting += node.get("Plans", ())
        assert node["Node Type"] != "Seq Scan", plan
        if "Index Name" in node:
            filtered = node.get("Rows Removed by Filter", 0)
            yield node["Index Name"], round((node["Actual Rows"] + filtered) * node["Actual Loops"])


def test_a_user_with_100_000_old_notifications_reads_as_fast_as_one_with_100(alias: str) -> None:
    """Whether they were read or not; beside many other users."""
    few, many, unread = (user_target(name) for name in ("few", "many", "unread"))
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO message_flow_inboxitem (stream, user_id, mid, event_id, title, url, read_at, hidden)
            SELECT 'user.' || who, who, md5(who || n), 'x', 'Title', '',
                CASE WHEN read AND n > 5 THEN now() END, n % 10 = 9
            FROM (VALUES ('few', 100, true), ('many', 100000, true), ('unread', 20000, false)) AS u (who, size, read)
            CROSS JOIN LATERAL generate_series(1, size) AS n
            UNION ALL SELECT 'user.' || n, n::text, md5('other' || n), 'x', 'Title', '', NULL, false
            FROM generate_series(1, 20000) AS n
            """
        )
        cursor.execute("ANALYZE message_flow_inboxitem")
    took = {}
    for target in (few, many, unread):
        expected = UNREAD_MAX if target is unread else 5
        with plans(alias) as found:
            assert len(listing.page(target.stream).items) == listing.PAGE_ITEMS
            assert listing.unread(target.stream) == expected
        assert found == [
            [("message_flow_inbox_visible", listing.PAGE_ITEMS + 1)],
            [("message_flow_inbox_unread", expected)],
        ]
        # The same count, as the sequencer takes it.
        with plans(alias) as found:
            assert counted(connections[alias], [Change(0, target.stream, "")], set()) == {target.stream: expected}
        assert found == [[("message_flow_inbox_mid", 0)], [("message_flow_inbox_unread", expected)]]
        best = 1.0
        for _ in range(5):
            start = time.perf_counter()
            page = listing.page(target.stream)
            listing.page(target.stream, page.next)
            listing.unread(target.stream)
            best = min(best, time.perf_counter() - start)
        took[target] = best
    # All of a user who was deleted, seen and unseen.
    with plans(alias) as found:
        assert changes._forget_some(many)
    assert [index for scan in found for index, _ in scan] == ["message_flow_inbox_read", "message_flow_inboxitem_pkey"]
    assert {rows for scan in found for _, rows in scan} == {500}
    print(f"list, next page and count: {took[many] / took[few]:.2f} of the time of one with 100")
    # About 1 in fact; of a hundred where an index is missing.
    assert took[many] < 5 * took[few]


# On two nodes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(pair: Callable[[dict[str, str]], Pair]) -> Pair:
    return pair({"REALTIME_QUEUE_STRATEGY": "user"})


async def post(person: Person, path: str, **fields: str) -> dict[str, Any]:
    answer = await asyncio.to_thread(person.post, path, fields, JSON)
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json()
    return found


async def listed(person: Person) -> dict[str, Any]:
    answer = await asyncio.to_thread(person.get, "/inbox", JSON)
    found: dict[str, Any] = answer.json()
    return found


async def test_three_tabs_on_two_nodes_show_the_same_count(two: Pair) -> None:
    user_id, person = await asyncio.to_thread(two.newcomer)
    other_id, other = await asyncio.to_thread(two.newcomer)
    shell = two.target.site.shell
    stream = f"user.{user_id}"
    urls = [two.nodes[0].websocket, two.nodes[1].websocket, two.nodes[1].websocket]
    tabs = [await Tab.open(url, person.token) for url in urls]
    stranger = await Tab.open(urls[0], other.token)

    async def shown(event_id: str, count: int, nth: int = 1) -> list[Frame]:
        """Every tab gets the nth event of that id, which says that there are so many unread."""
        frames = []
        for tab in tabs:
            await tab.wait_until(lambda tab=tab: tab.ids.count(event_id) >= nth, what=f"{nth} {event_id}")  # type: ignore[misc]
            frame = [event for event in tab.events if event["id"] == event_id][nth - 1]
            assert (frame["unread"], frame["stream"]) == (count, stream)
            frames.append(frame)
        return frames

    async def timed(doing: Any, *expected: Any) -> Any:
        async def arrived() -> float:
            frames = await shown(*expected)
            told_at: float = frames[0]["ts"]
            return time.time() - told_at

        # Whoever does it may be slow to end.
        result, took = await asyncio.gather(doing, arrived())
        assert took < COUNT_WITHIN_SECS
        return result

    program = f"for pk in {user_id}, {other_id}: notify(pk, 'a/TOLD', title='One')"
    await timed(asyncio.to_thread(shell, IMPORT + program), "a/TOLD", 1)
    await timed(asyncio.to_thread(shell, f"{IMPORT}notify({user_id}, 'b/TOLD', title='Two')"), "b/TOLD", 2)
    [item, _] = (await listed(person))["items"]
    assert (item["title"], item["mid"]) == ("Two", (await shown("b/TOLD", 2))[0]["mid"])
    assert (await timed(post(person, "/inbox/read", mid=item["mid"]), "inbox/CHANGED", 1))["unread"] == 1
    done = await timed(post(person, "/inbox/read", upto="all"), "inbox/CHANGED", 0, 2)
    assert (await timed(post(person, "/inbox/unread", undo=done["undo"]), "inbox/CHANGED", 1, 3))["unread"] == 1
    # Who comes back learns it from history.
    away = await Tab.open(urls[0], person.token, since={stream: tabs[0].cursors[stream] | {"seq": 0}})
    await away.wait_for_events(5)
    assert [event["unread"] for event in away.events] == [1, 2, 1, 0, 1]
    assert (await listed(person))["cursor"][stream] == away.cursors[stream]
    # The other user's inbox is as it was, and nothing was told there.
    assert [event["unread"] for event in stranger.events] == [1]
    assert (await listed(other))["unread"] == 1
    for tab in (*tabs, away, stranger):
        await tab.close()


async def test_a_thousand_notifications_in_a_second(two: Pair) -> None:
    user_id, person = await asyncio.to_thread(two.newcomer)
    tabs = [await Tab.open(node.websocket, person.token) for node in two.nodes]
    program = (
        "from django.contrib.auth import get_user_model\n"
        f"user = get_user_model().objects.get(pk={user_id})\n"
        "for n in range(1000):\n"
        "    notify(user, 'burst/TOLD', {'n': n}, title=f'Number {n}', url='/', group='g' if n % 2 else None)\n"
    )
    await asyncio.to_thread(two.target.site.shell, IMPORT + program)
    for tab in tabs:
        await tab.wait_for_events(1_000, 30)
        assert tab.seqs(f"user.{user_id}") == list(range(1, 1_001))
        last = tab.events[-1]
        # 500 that stand alone, and the last of the group.
        assert (last["unread"], last["data"]["n"]) == (501, 999)
        assert max(len(text.encode()) for text in tab.texts) < 1_000
        await tab.close()
    state = await listed(person)
    assert (state["unread"], len(state["items"])) == (501, listing.PAGE_ITEMS)
    await post(person, "/inbox/read", upto="all")
    assert (await listed(person))["unread"] == 0
