"""Two nodes on one RabbitMQ: everybody gets what is theirs, in order, and nothing else (docs/node.md)."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from ops.services import RabbitMQ
from tests.services.rigs.clients import Tab
from tests.services.rigs.pair import Pair
from tests.services.rigs.target import metrics

USERS = 200
EVENTS = 5_000
OUTAGES = 3
OUTAGE_SECS = 10.0
# Requests that are timed without the broker, in each outage, and as many with it. Other tests run beside this one: the
# median of so many ratios hardly moves with what they do.
SAMPLES = 40

OpenPair = Callable[[Mapping[str, str]], Pair]


@pytest.fixture(params=["user", "node"])
def two(request: pytest.FixtureRequest, pair: OpenPair) -> Iterator[Pair]:
    """Nodes with either queue strategy. What they have said is printed with a failure."""
    two = pair({"REALTIME_QUEUE_STRATEGY": request.param})
    yield two
    print(two.target.site.logs())


# Ends once the broker has confirmed everything; a process that only exits would wait for 2 s at most.
_FLUSH = """
from apps.realtime.publishing.process import publishing_process
assert publishing_process().publisher.flush(60), publishing_process().publisher.problem
"""
_MAKE_USERS = """
import json, time
from django.contrib.auth import get_user_model
from apps.realtime.signin import NO_SESSION, password_digest
from apps.realtime.tokens import issue_token
users = get_user_model()
made = users.objects.bulk_create([users(username=f"user{number}", password="!") for number in range(COUNT)])
tokens = {}
for user in made:
    digest = password_digest(user)
    tokens[user.pk] = issue_token(
        user_id=str(user.pk), username=user.username, mark=NO_SESSION, password=digest, now=time.time()
    ).text
print(json.dumps(tokens))
"""


async def publish(pair: Pair, program: str) -> None:
    """Run statements that push in a process of their own, as a Celery worker or a shell would."""
    imports = "from apps.realtime import EVERYONE, Topic, push\n"
    await asyncio.to_thread(pair.target.site.shell, imports + program + _FLUSH)


async def test_each_stream_reaches_its_tabs_on_both_nodes(two: Pair) -> None:
    nodes = two.nodes
    alice, bob = nodes[0].person("alice"), nodes[1].person("bob")
    alices = [await Tab.open(n.websocket, alice.token, topics=["article-1"]) for n in nodes for _ in range(2)]
    alices += [await Tab.open(n.websocket, alice.token, dialect="seed") for n in nodes]
    bobs = [await Tab.open(n.websocket, bob.token) for n in nodes]
    await publish(
        two,
        """
from django.contrib.auth import get_user_model
alice = get_user_model().objects.get(username="alice")
push(alice, "to/ALICE", 1)
push(Topic("article-1"), "to/TOPIC", 2)
push(EVERYONE, "to/ALL", 3)
""",
    )
    for tab in [*alices, *bobs]:
        await tab.wait_for_event("to/ALL")
    for tab in alices[:4]:
        await tab.wait_for_events(3)
        assert sorted(tab.ids) == ["to/ALICE", "to/ALL", "to/TOPIC"]
    for tab in alices[4:]:
        await tab.wait_for_events(2)
        assert sorted(tab.ids) == ["to/ALICE", "to/ALL"]
    for tab in bobs:
        assert tab.ids == ["to/ALL"]
    # With this Daphne frames take the short way (docs/node.md); with one that hides its sockets this says so.
    for node in nodes:
        assert metrics(node, "realtime_sockets_total").keys() == {'writer="direct"', 'writer="plain"'}
        assert metrics(node, "realtime_sockets_total")['writer="plain"'] == 0
    for tab in [*alices, *bobs]:
        await tab.close()


async def test_two_hundred_users_each_get_their_own_in_order(two: Pair) -> None:
    nodes = two.nodes
    made = await asyncio.to_thread(two.target.site.shell, _MAKE_USERS.replace("COUNT", str(USERS)))
    tokens: dict[str, str] = json.loads(made)

    # As many at once as browsers of an office that comes back from lunch, not as a test's event loop can bear.
    at_once = asyncio.Semaphore(20)

    async def open_tabs(token: str) -> list[Tab]:
        async with at_once:
            return [await Tab.open(n.websocket, token, deadline_secs=60) for n in nodes]

    opened = await asyncio.gather(*(open_tabs(token) for token in tokens.values()))
    tabs = dict(zip(tokens, opened, strict=True))
    await publish(
        two,
        f"""
users = {list(tokens)!r}
for number in range({EVENTS}):
    push(users[number % len(users)], "many/EVENT", number)
""",
    )
    each = EVENTS // USERS
    for position, (user_id, mine) in enumerate(tabs.items()):
        for tab in mine:
            events = await tab.wait_for_events(each, deadline_secs=60)
            assert [event["data"] for event in events] == list(range(position, EVENTS, USERS))
            assert {event["stream"] for event in events} == {f"user.{user_id}"}
            assert len(tab.events) == each
    await asyncio.gather(*(tab.close() for mine in tabs.values() for tab in mine))


async def test_three_outages_of_the_broker_close_no_socket_and_slow_no_request(
    pair: OpenPair, broker: RabbitMQ
) -> None:
    two = pair({"REALTIME_QUEUE_STRATEGY": "user"})
    alice, bob = two.nodes[0].person("alice"), two.nodes[0].person("bob")
    tabs = [await Tab.open(node.websocket, alice.token) for node in two.nodes]

    def cost_of_pushing() -> float:
        """The time of a request that pushes twice, a comment on alice's article, in units of one that only reads.

        One right after the other: whatever else the machine does meets both.
        """
        before = time.perf_counter()
        assert bob.get("/demo/articles/1/").status == 200
        between = time.perf_counter()
        assert bob.post("/demo/articles/1/comments/", {"text": "still here"}).status == 200
        return (time.perf_counter() - between) / (between - before)

    async def several(count: int) -> list[float]:
        return [await asyncio.to_thread(cost_of_pushing) for _ in range(count)]

    await several(2)  # the first one connects
    for outage in range(OUTAGES):
        up = await several(SAMPLES)
        await asyncio.to_thread(broker.stop)
        stopped_at = time.monotonic()
        down = await several(SAMPLES)
        while time.monotonic() - stopped_at < OUTAGE_SECS:
            down += await several(1)
            await asyncio.sleep(0.5)  # often enough to meet a request that waits, and the core is free for other tests
        ratio = statistics.median(down) / statistics.median(up)
        assert ratio < 1.3, (outage, ratio, up, down)

        heard = [len(tab.events) for tab in tabs]
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(broker.wait_ready)
        port_open_at = time.monotonic()
        while any(len(tab.events) == before for tab, before in zip(tabs, heard, strict=True)):
            await several(1)
            assert time.monotonic() - port_open_at < 5, f"outage {outage}: {[len(tab.events) for tab in tabs]}"
        assert not any(tab.closed for tab in tabs)
    for tab in tabs:
        await tab.close()
