"""Sockets follow the session, and subscriptions the right, on two nodes (docs/tokens.md, docs/topics.md)."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import jwt
import pytest

from apps.realtime.tokens import TYPE
from ops.services import Postgres, RabbitMQ
from tests.services.rigs.clients import Dialect, Tab
from tests.services.rigs.people import Person
from tests.services.rigs.proxy import TcpProxy
from tests.services.rigs.site import PASSWORD, SECRETS, Node
from tests.services.rigs.target import Target, claims_of, metrics, open_target

REVOKED, AUTH_FAILED = 4503, 4501
# Nodes look nothing up by themselves while a test waits: what it sees, they were told. 2 s are promised and printed by
# `pytest -s`; how long a busy machine takes proves nothing.
SETTINGS: Final = {
    "DJANGO_SETTINGS_MODULE": "tests.services.rigs.rights.settings",
    "REALTIME_SIGN_IN_CHECK_SECS": "3600",
}
PROMISED_SECS: Final = 2.0
PREAMBLE: Final = """
from apps.realtime import *
from django.contrib.auth.models import Group, Permission, User
user = lambda name: User.objects.get(username=name)
editing = Permission.objects.get(codename='change_article')
"""
Shell = Callable[[str], object]


@pytest.fixture(scope="module")
def target(
    tmp_path_factory: pytest.TempPathFactory,
    rabbitmq: RabbitMQ,
    postgres: Postgres,
    _migrated: str,
    _static_root: Path,
) -> Iterator[Target]:
    """A site with topics whose rights can be taken away."""
    with open_target(tmp_path_factory.mktemp("standing"), rabbitmq, postgres, _migrated, _static_root) as opened:
        opened.site.env |= SETTINGS
        yield opened


@pytest.fixture(scope="module")
def nodes(target: Target) -> list[Node]:
    """Two of them."""
    nodes = [target.site.start_node() for _ in range(2)]
    for node in nodes:
        node.wait_ready()
    return nodes


@pytest.fixture(scope="module")
def shell(target: Target, nodes: list[Node]) -> Shell:
    """Statements in processes of the site's beside its nodes, with names that all of them use."""
    return lambda program: target.site.shell(PREAMBLE + program)


@pytest.fixture(scope="module")
def editor(target: Target, nodes: list[Node], shell: Shell) -> Person:
    """Somebody to whom nothing happens, and who may hear every topic."""
    target.ensure_user("editor")
    shell("user('editor').user_permissions.add(editing)")
    return target.person(nodes[0], "editor")


@pytest.fixture
def name(target: Target) -> str:
    """A user of this test's own."""
    name = f"user-{uuid4().hex[:12]}"
    target.ensure_user(name)
    return name


async def tabs_on(
    nodes: list[Node], person: Person, *, dialects: tuple[Dialect, ...] = ("v1", "seed"), topics: tuple[str, ...] = ()
) -> list[Tab]:
    """One tab of each dialect on each node, all of one session."""
    token = await asyncio.to_thread(person.token)
    return await asyncio.gather(
        *(
            Tab.open(node.websocket, token, dialect=dialect, topics=topics if dialect == "v1" else ())
            for node in nodes
            for dialect in dialects
        )
    )


async def assert_closed(tabs: list[Tab], began: float) -> None:
    """All of them with 4503."""
    codes = await asyncio.gather(*(tab.wait_closed() for tab in tabs))
    print(f"{len(tabs)} sockets closed within {time.monotonic() - began:.2f} s")
    assert codes == [REVOKED] * len(tabs)
    for tab in tabs:
        await tab.close()


async def assert_alive(target: Target, tabs: list[Tab]) -> None:
    """They are open, and an event reaches them."""
    mark = f"alive/{uuid4().hex}"
    with target.publisher() as publisher:
        publisher.publish("all", f'{{"id": "{mark}", "data": null}}'.encode())
    for tab in tabs:
        await tab.wait_for_event(mark)
        await tab.close()


async def assert_refused(node: Node, token: str) -> None:
    tab = await Tab.connect(node.websocket, token)
    assert await tab.wait_closed() == AUTH_FAILED
    await tab.close()


# The session -------------------------------------------------------------------------------------


async def test_a_sign_out_closes_its_session_s_sockets_on_every_node_and_no_other(
    target: Target, nodes: list[Node], name: str
) -> None:
    leaver, elsewhere = target.person(nodes[0], name), target.person(nodes[1], name)
    leaving, staying = await tabs_on(nodes, leaver), await tabs_on(nodes, elsewhere)
    token = leaver.tokens[-1]
    began = time.monotonic()
    await asyncio.to_thread(leaver.post, "/accounts/logout/")
    await assert_closed(leaving, began)
    await assert_refused(nodes[1], token)
    await assert_alive(target, staying)


async def test_a_changed_password_closes_all_but_the_session_that_changed_it(
    target: Target, nodes: list[Node], name: str
) -> None:
    changer, elsewhere = target.person(nodes[0], name), target.person(nodes[1], name)
    staying, leaving = await tabs_on(nodes, changer), await tabs_on(nodes, elsewhere)
    tokens = [changer.tokens[-1], elsewhere.tokens[-1]]
    new = PASSWORD + "-2"
    began = time.monotonic()
    fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    await asyncio.to_thread(changer.post, "/accounts/password_change/", fields)
    await assert_closed(leaving, began)
    await assert_alive(target, staying)
    for token in tokens:
        await assert_refused(nodes[1], token)


CHANGES: Final = {
    "deactivated": "someone.is_active = False; someone.save()",
    "deleted": "someone.delete()",
    "signed out everywhere": "sign_out_everywhere(someone)",
    "given another password": "someone.set_password('another'); someone.save()",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_what_an_operator_does_to_a_user_closes_all_of_the_users_sockets(
    target: Target, nodes: list[Node], shell: Shell, editor: Person, name: str, change: str
) -> None:
    person = target.person(nodes[0], name)
    tabs = await tabs_on(nodes, person)
    bystander = await tabs_on(nodes[:1], editor, dialects=("v1",))
    began = time.monotonic()
    await asyncio.to_thread(shell, f"someone = user('{name}'); {change}")
    await assert_closed(tabs, began)
    await assert_refused(nodes[0], person.tokens[-1])
    await assert_alive(target, bystander)


async def test_a_sign_out_with_the_broker_away_counts_too_and_after_a_restart(
    target: Target, rabbitmq: RabbitMQ, proxy: Callable[[int], TcpProxy], name: str
) -> None:
    """The row is the truth, the broker only hurries."""
    broker = proxy(rabbitmq.port)
    env = {
        "AMQP_URL": target.amqp_url.replace(f":{rabbitmq.port}/", f":{broker.port}/"),
        "REALTIME_SIGN_IN_CHECK_SECS": "2",
        "REALTIME_AMQP_HEARTBEAT_SECS": "2",
    }
    node = target.site.node(env)
    person, elsewhere = target.person(node, name), target.person(node, name)
    [leaving] = await tabs_on([node], person, dialects=("v1",))
    [staying] = await tabs_on([node], elsewhere, dialects=("v1",))
    await asyncio.to_thread(broker.refuse)
    await asyncio.to_thread(node.wait_unready)
    await asyncio.to_thread(person.post, "/accounts/logout/")
    assert await leaving.wait_closed() == REVOKED
    await assert_refused(node, person.tokens[-1])
    assert not staying.closed
    await staying.close()
    node.kill9()
    await assert_refused(
        await asyncio.to_thread(target.site.node, env | {"AMQP_URL": target.amqp_url}), person.tokens[-1]
    )


async def test_a_sign_out_in_one_of_fifty_tabs_while_events_flow(
    target: Target, nodes: list[Node], shell: Shell, name: str
) -> None:
    """200 events a second: the session that ended gets none 2 s later, every other one gets all."""
    person = target.person(nodes[0], name)
    token = person.token()
    claims = claims_of(token)
    marks = [uuid4().hex for _ in range(49)]
    rows = ", ".join(f"('{mark}', '{claims['sub']}', false, '', now())" for mark in marks)
    target.sql(f"INSERT INTO message_flow_signin (mark, user_id, ended, password, seen_at) VALUES {rows}")
    key = SECRETS["REALTIME_SECRET"]
    others = [jwt.encode(claims | {"mark": mark}, key, "HS256", {"typ": TYPE}) for mark in marks]
    leaving, *staying = await asyncio.gather(
        *(Tab.open(nodes[number % 2].websocket, one) for number, one in enumerate([token, *others]))
    )
    for tab in (leaving, *staying):
        tab.acks = False
    events = 250  # less than a window
    flowing = asyncio.create_task(
        asyncio.to_thread(
            shell,
            "import time\n"
            f"someone, began = user('{name}'), time.monotonic()\n"
            f"for number in range({events}):\n"
            "    notify(someone, 'flow/EVENT', time.monotonic())\n"
            "    time.sleep(max(0, began + (number + 1) / 200 - time.monotonic()))\n",
        )
    )
    await leaving.wait_for_events(20)
    await asyncio.to_thread(person.post, "/accounts/logout/")
    signed_out = time.monotonic()
    assert await leaving.wait_closed() == REVOKED
    # By the clock of the machine: however late this process gets to reading it.
    print(f"the last event was sent {leaving.events[-1]['data'] - signed_out:.2f} s after the sign-out")
    assert leaving.events[-1]["data"] <= signed_out + PROMISED_SECS
    await flowing
    for tab in staying:
        await tab.wait_for_events(events, deadline_secs=30)
        assert tab.seqs(f"user.{claims['sub']}") == list(range(1, events + 1))
        await tab.close()
    assert len(leaving.events) < events
    await leaving.close()


# Rights ------------------------------------------------------------------------------------------


async def assert_lost(target: Target, lost: list[Tab], kept: list[Tab], topic: str, began: float) -> None:
    """Those have lost the topic and hear nothing of it, these hear it."""
    for tab in lost:
        told = await tab.wait_for_control("UNSUBSCRIBED")
        assert told["data"] == {"topic": topic, "reason": "revoked"}
    print(f"{len(lost)} subscriptions ended within {time.monotonic() - began:.2f} s")
    with target.publisher() as publisher:
        publisher.publish(f"topic.{topic}", b'{"id": "secret", "data": null}')
        publisher.publish("all", b'{"id": "open", "data": null}')
    for tab in kept:
        await tab.wait_for_event("secret")
    for tab in (*lost, *kept):
        await tab.wait_for_event("open")
        await tab.close()
    assert not [tab for tab in lost if "secret" in tab.ids]


async def test_what_the_project_revokes_ends_at_once_on_every_node(
    target: Target, nodes: list[Node], shell: Shell, editor: Person, name: str
) -> None:
    lost = await tabs_on(nodes, target.person(nodes[0], name), dialects=("v1",), topics=("open-1", "open-2"))
    kept = await tabs_on(nodes, editor, dialects=("v1",), topics=("open-1",))
    began = time.monotonic()
    await asyncio.to_thread(shell, f"revoke(user('{name}'), Topic('open-1'))")
    await assert_lost(target, lost, kept, "open-1", began)


WAYS: Final = {
    "the user leaves the group": ("someone.groups.add(group)", "someone.groups.remove(group)"),
    "the group sends the user away": ("someone.groups.add(group)", "group.user_set.clear()"),
    "the group loses the permission": ("someone.groups.add(group)", "group.permissions.remove(editing)"),
    "the group is deleted": ("someone.groups.add(group)", "group.delete()"),
    "the user loses the permission": ("someone.user_permissions.add(editing)", "someone.user_permissions.clear()"),
    "no superuser any more": (
        "someone.is_superuser = True; someone.save()",
        "someone.is_superuser = False; someone.save()",
    ),
}


@pytest.mark.parametrize(("give", "take"), WAYS.values(), ids=WAYS)
async def test_a_permission_that_is_taken_away_ends_the_topic_that_it_rules(
    target: Target, nodes: list[Node], shell: Shell, editor: Person, name: str, give: str, take: str
) -> None:
    someone, group = f"someone = user('{name}')", f"name='group of {name}'"
    await asyncio.to_thread(
        shell, f"{someone}; group = Group.objects.create({group}); group.permissions.add(editing); {give}"
    )
    lost = await tabs_on(nodes, target.person(nodes[0], name), dialects=("v1",), topics=("editors",))
    kept = await tabs_on(nodes[:1], editor, dialects=("v1",), topics=("editors",))
    assert all(tab.verdict("topic.editors")["state"] == "new" for tab in (*lost, *kept))
    began = time.monotonic()
    await asyncio.to_thread(shell, f"{someone}; group = Group.objects.get({group}); {take}")
    await assert_lost(target, lost, kept, "editors", began)


async def test_nobody_else_can_tell_nodes_anything(target: Target, nodes: list[Node], editor: Person) -> None:
    tabs = await tabs_on(nodes[:1], editor, dialects=("v1",), topics=("open-1",))
    user_id = claims_of(editor.tokens[-1])["sub"]
    body = f'{{"id": "CHANGED", "data": {{"user": "{user_id}", "topic": "open-1"}}, "stream": "control"}}'
    before = metrics(nodes[0], "realtime_bodies_dropped_total").get('reason="forged_control"', 0)
    with target.publisher() as publisher:
        publisher.publish("control", body.encode())
    await assert_alive(target, tabs)
    assert not [frame for frame in tabs[0].control if frame["id"] == "UNSUBSCRIBED"]
    assert metrics(nodes[0], "realtime_bodies_dropped_total")['reason="forged_control"'] == before + 1
