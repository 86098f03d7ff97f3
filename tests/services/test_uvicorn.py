"""The application under an ASGI server other than Daphne: nothing but ASGI is needed (docs/performance.md)."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest

from ops.services import Process, free_port
from tests.services.rigs.clients import Tab
from tests.services.rigs.pair import Pair
from tests.services.rigs.site import BIN, ROOT, Node
from tests.services.rigs.target import metrics

EVENTS = 300


@pytest.fixture
def two(pair: Callable[[Mapping[str, str]], Pair]) -> Pair:
    """Nodes of the same site under Daphne."""
    return pair({"REALTIME_QUEUE_STRATEGY": "user"})


@pytest.fixture
def node(two: Pair) -> Iterator[Node]:
    """One more, under uvicorn."""
    site, port = two.target.site, free_port()
    command = f"{BIN}/uvicorn project.asgi:application --port {port} --ws websockets --no-access-log".split()
    node = Node(Process(command, site.folder / "uvicorn.log", env=site.env, cwd=ROOT), port)
    try:
        node.wait_ready()
        yield node
    finally:
        if node.process.running:
            node.process.kill9()


async def test_events_arrive_as_under_daphne_and_resume_elsewhere(two: Pair, node: Node) -> None:
    user_id, person = two.newcomer()
    here = await Tab.open(node.websocket, person.token)
    seed = await Tab.open(node.websocket, person.token, dialect="seed")
    elsewhere = await Tab.open(two.nodes[0].websocket, person.token)
    program = f"""
from apps.realtime import notify, push
from django.contrib.auth import get_user_model
from django.db import transaction
user = get_user_model().objects.get(pk={user_id})
with transaction.atomic():
    for number in range({EVENTS}):
        notify(user, "uvicorn/EVENT", number)
push(user, "uvicorn/END")
from apps.realtime.publishing.process import publishing_process
assert publishing_process().outbox.flush(60) and publishing_process().publisher.flush(60)
"""
    await asyncio.to_thread(two.target.site.shell, program)
    for tab in (here, seed, elsewhere):
        await tab.wait_for_events(EVENTS + 1, deadline_secs=30)
        assert [event["data"] for event in tab.events if event["id"] == "uvicorn/EVENT"] == list(range(EVENTS))
    assert metrics(node, "realtime_sockets_total") == {'writer="direct"': 0, 'writer="plain"': 2}
    # A deployment: the server says that it goes, and ends.
    assert await asyncio.to_thread(node.process.stop, deadline_secs=20) in (0, -15)
    await here.wait_until(lambda: bool(here.closed and seed.closed), what="the sockets are closed")
    await elsewhere.close()
