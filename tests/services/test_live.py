"""Who is connected where, and how they are sent away, on two nodes (docs/commands.md, "How nodes answer")."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from ops.services import RabbitMQ
from tests.services.rigs.clients import Tab
from tests.services.rigs.pair import Pair
from tests.services.rigs.proxy import TcpProxy
from tests.services.rigs.site import Site

REVOKED = 4503


async def realtime(site: Site, *arguments: str) -> list[str]:
    """What `manage.py realtime …` prints, line by line, its columns with one blank between them."""
    program = f"from django.core.management import call_command; call_command('realtime', *{arguments!r})"
    printed = await asyncio.to_thread(site.shell, program)
    return [" ".join(line.split()) for line in printed.splitlines()]


def sid_of(tab: Tab) -> str:
    assert tab.auth_ok is not None
    sid: str = tab.auth_ok["data"]["sid"]
    return sid


@pytest.fixture
def two(pair: Callable[[Mapping[str, str]], Pair]) -> Pair:
    """Two nodes."""
    return pair({"REALTIME_QUEUE_STRATEGY": "user"})


async def test_sessions_of_all_nodes_are_seen_and_kicked(two: Pair) -> None:
    site, nodes = two.target.site, two.nodes
    user_id, person = two.newcomer()
    other_id, other = two.newcomer()
    token, other_token = await asyncio.to_thread(person.token), await asyncio.to_thread(other.token)
    first, second = [await Tab.open(node.websocket, token) for node in nodes]
    seed = await Tab.open(nodes[0].websocket, token, dialect="seed")
    bystander = await Tab.open(nodes[1].websocket, other_token)
    # They are open on both, in both dialects, and nobody else's are shown.
    *lines, summary = await realtime(site, "sessions", user_id)
    assert summary == "3 sessions on 2 nodes"
    names = [f":{node.process.pid} " for node in nodes]
    assert [sum(name in line for line in lines[1:]) for name in names] == [2, 1]
    assert sum(" seed " in line for line in lines) == 1
    assert all("127.0.0.1" in line for line in lines[1:])
    everybody = await realtime(site, "sessions")
    assert sum(f" {other_id} newcomer" in line for line in everybody) == 1
    # One session, and no other.
    assert sid_of(second) in "".join(lines)
    [line] = await realtime(site, "kick", sid_of(second), "--as", "sid")
    assert line.startswith("closed 1 socket of the session ")
    assert await second.wait_closed() == REVOKED
    assert not first.closed
    assert not seed.closed
    # All of the user, on every node.
    again = await Tab.open(nodes[1].websocket, token)
    assert await realtime(site, "kick", user_id) == [f"closed 3 sockets of the user of key {user_id} on 2 nodes"]
    for tab in (first, seed, again):
        assert await tab.wait_closed() == REVOKED
    assert not bystander.closed
    # The token is still good: a kick ends no sign-in.
    back = await Tab.open(nodes[0].websocket, token)
    told = "\n".join(await realtime(site, "inspect", user_id))
    for part in (f"user {user_id} newcomer-", "1 stand", f"user.{user_id} 0 0", sid_of(back), "1 session on 2 nodes"):
        assert part in told
    for tab in (back, bystander):
        await tab.close()


async def test_the_admin_sees_and_kicks_what_is_open_on_another_node(two: Pair) -> None:
    site, nodes = two.target.site, two.nodes
    staff_id, staff = two.newcomer()
    user_id, person = two.newcomer()
    tab = await Tab.open(nodes[1].websocket, await asyncio.to_thread(person.token))
    path = "/admin/message_flow/livenode/"
    give = (
        "from django.contrib.auth.models import Permission, User\n"
        f"user = User.objects.get(id={staff_id}); user.is_staff = True; user.save()\n"
        "user.user_permissions.add(Permission.objects.get(codename='{}'))"
    )
    await asyncio.to_thread(site.shell, give.format("view_livenode"))
    page = await asyncio.to_thread(staff.get, f"{path}?q={user_id}")
    assert (page.status, sid_of(tab) in page.body, "Kick" in page.body) == (200, True, False)
    refused = await asyncio.to_thread(staff.post, f"{path}kick/", {"user": user_id})
    assert refused.status == 403
    assert not tab.closed
    await asyncio.to_thread(site.shell, give.format("kick_session"))
    told = await asyncio.to_thread(staff.post, f"{path}kick/", {"user": user_id, "listed": user_id})
    assert f"Kicked the user of key {user_id}: 1 socket closed on 2 nodes" in told.body
    assert await tab.wait_closed() == REVOKED


async def test_with_the_broker_away_nodes_look_by_themselves(
    two: Pair, rabbitmq: RabbitMQ, proxy: Callable[[int], TcpProxy]
) -> None:
    """The row is the truth, the broker only hurries; a node that is killed is named until it is forgotten."""
    site = two.target.site
    broker = proxy(rabbitmq.port)
    env = {
        "AMQP_URL": two.target.amqp_url.replace(f":{rabbitmq.port}/", f":{broker.port}/"),
        "REALTIME_SIGN_IN_CHECK_SECS": "2",
    }
    node = await asyncio.to_thread(site.node, env)
    user_id, person = two.newcomer()
    tab = await Tab.open(node.websocket, await asyncio.to_thread(person.token))
    # The node does not know yet that it hears nothing any more.
    await asyncio.to_thread(broker.black_hole)
    first, *_ = await realtime(site, "kick", user_id)
    assert first.startswith("closed ")
    assert await tab.wait_closed() == REVOKED
    node.kill9()
    *_, silent, _ = await realtime(site, "sessions", user_id)
    assert f":{node.process.pid}, seen " in silent
    two.target.sql(f"DELETE FROM message_flow_livenode WHERE name LIKE '%:{node.process.pid}'")
