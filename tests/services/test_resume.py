"""Durable events on real parts: what a tab misses comes again, or it is told (docs/protocol.md, "Resume")."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from ops.services import Postgres, RabbitMQ, wait_for
from tests.services.rigs.clients import Frame, Tab
from tests.services.rigs.pair import Pair
from tests.services.rigs.people import Person
from tests.services.rigs.target import ForeignPublisher

# They look after heads every second, and find a silent broker after 3 s.
_SETTINGS = {"REALTIME_HEAD_CHECK_SECS": "1", "REALTIME_AMQP_HEARTBEAT_SECS": "2", "REALTIME_REPLAY_MAX": "20"}
_FLUSH = """
from apps.realtime.publishing.process import publishing_process
assert publishing_process().outbox.flush(30)
"""


class Rig:
    """Two nodes with somebody signed in who has no history yet, and processes that notify her.

    Attributes:
        stream: hers.
    """

    def __init__(self, pair: Pair) -> None:
        self.nodes = pair.nodes
        self.amqp_url = pair.target.amqp_url
        self._target = pair.target
        user_id, self.alice = pair.newcomer()
        self.stream = f"user.{user_id}"

    def sql(self, statement: str) -> list[str]:
        """Run a statement; its rows."""
        return self._target.sql(statement)

    async def run(self, program: str, *, flush: bool = True) -> str:
        """Run statements in a process of their own; with `flush` it ends when everything is confirmed."""
        imports = "from apps.realtime import EVERYONE, Topic, notify, push\n"
        program = imports + program + (_FLUSH if flush else "")
        return await asyncio.to_thread(self._target.site.shell, program)

    async def notify(self, count: int, *, to: str | None = None, flush: bool = True) -> None:
        """Notify alice, or another recipient, `count` times, each in a transaction of its own."""
        to = to or self.stream.partition(".")[2]
        await self.run(f"for number in range({count}):\n    notify({to}, 'tests/EVENT', number)\n", flush=flush)

    async def tab(self, node: int = 0, person: Person | None = None, **options: Any) -> Tab:
        """A tab of alice."""
        return await Tab.open(self.nodes[node].websocket, (person or self.alice).token, **options)

    def since(self, seq: int, epoch: str | None = None) -> dict[str, dict[str, Any]]:
        """Where a tab of alice's may claim to be."""
        epoch = epoch or self.sql(f"SELECT epoch FROM message_flow_stream WHERE name = '{self.stream}'")[0]
        return {self.stream: {"epoch": epoch, "seq": seq}}


@pytest.fixture
def rig(pair: Callable[[Mapping[str, str]], Pair], postgres: Postgres) -> Iterator[Rig]:
    """With somebody of this test's own. What the nodes have said is printed with a failure."""
    two = pair(_SETTINGS)
    yield Rig(two)
    postgres.start()
    postgres.wait_ready()
    print(two.target.site.logs())


async def test_each_tab_gets_each_event_once_and_in_order(rig: Rig) -> None:
    tabs = [await rig.tab(0), await rig.tab(1), await rig.tab(1, topics=["article-1"])]
    seed = await rig.tab(0, dialect="seed")
    assert all(tab.verdict(rig.stream)["state"] == "new" for tab in tabs)
    await rig.notify(100)
    await rig.run("notify(Topic('article-1'), 'tests/TOPIC'); notify(EVERYONE, 'tests/ALL', title='For you', url='/x')")
    for tab in tabs:
        await tab.wait_until(lambda tab=tab: len(tab.seqs(rig.stream)) == 100 and tab.seqs("all"))  # type: ignore[misc]
        assert tab.seqs(rig.stream) == list(range(1, 101))
        assert [event["data"] for event in tab.events if event["id"] == "tests/EVENT"] == list(range(100))
        told = await tab.wait_for_event("tests/ALL")
        assert (told["seq"], told["title"], told["url"]) == (tab.verdict("all")["seq"] + 1, "For you", "/x")
    topic = "topic.article-1"
    assert tabs[2].seqs(topic) == [tabs[2].verdict(topic)["seq"] + 1]
    assert tabs[0].seqs(topic) == []
    await seed.wait_until(lambda: len(seed.seqs(rig.stream)) == 100)
    assert seed.seqs(rig.stream) == list(range(1, 101))
    for tab in (*tabs, seed):
        await tab.close()
    left = "SELECT count(*) FROM message_flow_storedevent WHERE (confirmed_at IS NULL OR seq IS NULL)"
    assert rig.sql(f"{left} AND stream = '{rig.stream}'") == ["0"]


async def test_a_tab_that_was_away_gets_what_it_missed_and_then_what_comes(rig: Rig) -> None:
    tab = await rig.tab()
    await rig.notify(3)
    await tab.wait_for_events(3)
    await tab.close()
    await rig.notify(7)
    back = await rig.tab(1, since=tab.cursors)
    told = back.verdict(rig.stream)
    assert (told["state"], told["seq"], told["replay"]) == ("recovered", 10, 7)
    assert back.verdict("all")["state"] == "recovered"
    await rig.notify(2)
    await back.wait_for_events(9)
    assert back.seqs(rig.stream) == list(range(4, 13))
    # Nothing missed is told as such.
    await back.close()
    once_more = await rig.tab(0, since=back.cursors)
    told = once_more.verdict(rig.stream)
    assert (told["state"], told["seq"], told["replay"]) == ("recovered", 12, 0)
    await once_more.close()


async def test_what_cannot_be_continued_is_a_gap_for_that_client_alone(rig: Rig) -> None:
    await rig.notify(30)
    honest = await rig.tab()
    epoch = honest.verdict(rig.stream)["epoch"]
    rig.sql(f"DELETE FROM message_flow_storedevent WHERE stream = '{rig.stream}' AND seq <= 15")
    rig.sql(f"UPDATE message_flow_stream SET floor = 15 WHERE name = '{rig.stream}'")
    claims: list[tuple[Any, str, str | None]] = [
        ({"epoch": epoch, "seq": 30}, "recovered", None),
        ({"epoch": epoch, "seq": 15}, "recovered", None),
        ({"epoch": epoch, "seq": 14}, "gap", "trimmed"),
        ({"epoch": epoch, "seq": 9}, "gap", "too_many"),
        ({"epoch": epoch, "seq": 31}, "gap", "epoch"),
        ({"epoch": "0" * 16, "seq": 30}, "gap", "epoch"),
        ({"epoch": epoch, "seq": -1}, "gap", "epoch"),
        ({"epoch": epoch, "seq": 2**63}, "gap", "epoch"),
        ({"epoch": epoch, "seq": "30"}, "gap", "epoch"),
        ("x", "gap", "epoch"),
    ]
    for claim, state, reason in claims:
        tab = await rig.tab(1, since={rig.stream: claim, "user.999999": {"epoch": epoch, "seq": 0}})
        told = tab.verdict(rig.stream)
        assert (told["state"], told.get("reason"), told["epoch"], told["seq"]) == (state, reason, epoch, 30), claim
        assert tab.auth_ok is not None
        assert set(tab.auth_ok["data"]["streams"]) == {rig.stream, "all"}
        if state == "recovered":
            await tab.wait_for_events(30 - claim["seq"])
        assert tab.seqs(rig.stream) == ([] if state == "gap" else list(range(claim["seq"] + 1, 31)))
        await tab.close()
    await rig.notify(1)
    await honest.wait_for_events(1)
    assert honest.seqs(rig.stream) == [31]
    assert not [frame for frame in honest.control if frame["id"] == "GAP"]
    await honest.close()


async def test_a_topic_resumes_with_subscribe_and_only_for_who_may_hear_it(rig: Rig) -> None:
    tab = await rig.tab(topics=["article-1"])
    await rig.notify(2, to="Topic('article-1')")
    await tab.wait_for_events(2)
    cursor = tab.cursors["topic.article-1"]
    await tab.close()
    await rig.notify(3, to="Topic('article-1')")
    back = await rig.tab()
    told = await back.subscribe("article-1", since=cursor)
    assert (told["state"], told["replay"]) == ("recovered", 3)
    await back.wait_for_events(3)
    assert back.seqs("topic.article-1") == [cursor["seq"] + more for more in (1, 2, 3)]
    denied = await back.subscribe("nobody-declared-this", since=cursor)
    assert denied["state"] == "denied"
    await back.close()


async def test_durable_events_arrive_while_the_broker_is_away_and_once_when_it_is_back(
    rig: Rig, broker: RabbitMQ
) -> None:
    tabs = [await rig.tab(0), await rig.tab(1)]
    await rig.notify(1)
    for tab in tabs:
        await tab.wait_for_events(1)
    broker.kill9()
    await rig.notify(5, flush=False)
    for tab in tabs:
        # The link is compared every 2 s, and a process that exits keeps nothing of what waits.
        await tab.wait_for_events(6, deadline_secs=15)
    # A tab that comes while the broker is away is let in, and knows where it stands.
    late = await rig.tab(1, since=rig.since(2))
    assert late.verdict(rig.stream)["replay"] == 4
    broker.start()
    broker.wait_ready()
    for node in rig.nodes:
        node.wait_ready()
    await rig.notify(4)
    for tab in tabs:
        await tab.wait_until(lambda tab=tab: len(tab.seqs(rig.stream)) >= 10, 15)  # type: ignore[misc]
        assert tab.seqs(rig.stream) == list(range(1, 11))
    await late.wait_until(lambda: len(late.seqs(rig.stream)) >= 8)
    assert late.seqs(rig.stream) == list(range(3, 11))
    for tab in (*tabs, late):
        assert not [frame for frame in tab.control if frame["id"] in ("GAP", "RECONNECT")]
        await tab.close()


async def test_forged_numbers_from_the_exchange_reach_nobody_and_harm_nobody(rig: Rig) -> None:
    import pika

    tab = await rig.tab()
    epoch = tab.verdict(rig.stream)["epoch"]
    with ForeignPublisher(rig.amqp_url) as foreign:
        for seq in (1, 2, 1_000):
            body = json.dumps({"id": "forged", "data": 1, "stream": rig.stream, "seq": seq}).encode()
            for headers in ({"epoch": epoch, "seq": seq}, {"epoch": epoch, "seq": seq, "sig": "0" * 32}, {}):
                foreign.publish(rig.stream, body, pika.BasicProperties(headers=headers))
        foreign.publish(rig.stream, b'{"id": "GAP", "data": {}}')
        foreign.publish(rig.stream, b'{"id": "honest", "data": 1}')
    await tab.wait_for_event("honest")
    await rig.notify(2)
    await tab.wait_for_events(3)
    assert tab.ids == ["honest", "tests/EVENT", "tests/EVENT"]
    assert tab.seqs(rig.stream) == [1, 2]
    await tab.close()


async def test_a_client_that_does_not_acknowledge_gets_a_window_and_then_the_rest(rig: Rig) -> None:
    tab = await Tab.connect(rig.nodes[0].websocket, rig.alice.token)
    tab.acks = False
    await tab.wait_until(lambda: tab.auth_ok)
    other = await rig.tab()
    await rig.notify(300)
    await other.wait_for_events(300)
    await tab.wait_for_events(256)
    # Full: an ephemeral event is dropped, the durable ones wait.
    await rig.run(f"push({rig.stream.partition('.')[2]}, 'tests/TICK')\n{_PUBLISHED}", flush=False)
    await other.wait_for_event("tests/TICK")
    assert len(tab.events) == 256
    await tab.send({"id": "ACK", "data": {"n": 256}})
    await tab.wait_for_events(300)
    assert tab.seqs(rig.stream) == list(range(1, 301))
    assert "tests/TICK" not in tab.ids
    # It claims to have received what was never sent.
    await tab.send({"id": "ACK", "data": {"n": 1_000}})
    assert await tab.wait_closed() == 4502
    await other.close()


_PUBLISHED = """
from apps.realtime.publishing.process import publishing_process
assert publishing_process().publisher.flush(30)
"""


async def test_a_restored_backup_is_a_gap_for_everybody_who_saw_more(rig: Rig) -> None:
    tabs = [await rig.tab(0), await rig.tab(1)]
    await rig.notify(10)
    for tab in tabs:
        await tab.wait_for_events(10)
    # As a backup of some time ago would have it.
    rig.sql(f"DELETE FROM message_flow_storedevent WHERE stream = '{rig.stream}' AND seq > 6")
    rig.sql(f"UPDATE message_flow_stream SET head = 6, changed_at = now() WHERE name = '{rig.stream}'")
    gaps: list[Frame] = [await tab.wait_for_control("GAP", deadline_secs=15) for tab in tabs]
    assert {gap["data"]["reason"] for gap in gaps} == {"epoch"}
    assert len({gap["data"]["epoch"] for gap in gaps}) == 1
    await rig.notify(2)
    for tab in tabs:
        await tab.wait_for_events(12)
        assert tab.seqs(rig.stream)[10:] == [1, 2]
    # Who saw the lost events and was away is not told that all is well.
    epoch = tabs[0].auth_ok["data"]["streams"][rig.stream]["epoch"] if tabs[0].auth_ok else ""
    late = await rig.tab(since={rig.stream: {"epoch": epoch, "seq": 2}})
    assert late.verdict(rig.stream)["state"] == "gap"
    for tab in (*tabs, late):
        await tab.close()


async def test_without_the_database_nobody_is_told_a_verdict(rig: Rig, postgres: Postgres) -> None:
    tab = await rig.tab()
    await rig.notify(2)
    await tab.wait_for_events(2)
    token = rig.alice.token()
    postgres.kill9()
    refused = await Tab.connect(rig.nodes[1].websocket, token, since=tab.cursors)
    assert await refused.wait_closed(20) == 4006
    assert [frame["id"] for frame in refused.control] == ["AUTH REQUEST", "RECONNECT"]
    assert tab.close_code is None
    postgres.start()
    postgres.wait_ready()
    wait_for(lambda: all(node.is_ready for node in rig.nodes), 30, "the nodes have their database again")
    await rig.notify(1)
    await tab.wait_for_events(3)
    back = await rig.tab(1, since=tab.cursors)
    assert back.verdict(rig.stream)["replay"] == 0
    assert tab.seqs(rig.stream) == [1, 2, 3]
    await tab.close()
    await back.close()
