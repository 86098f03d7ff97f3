"""Whole lives of sockets over the in-process broker (docs/protocol.md, section 2; docs/node.md)."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import OperationalError
from prometheus_client import REGISTRY, generate_latest

from apps.realtime import EVERYONE, Topic, history, push, revoke, rotation
from apps.realtime.core.cache import OVERHEAD_BYTES, EventCache
from apps.realtime.core.control import Change
from apps.realtime.core.events import Event, EventTemplate
from apps.realtime.core.names import Stream, topic_stream, user_stream
from apps.realtime.core.session import Instant
from apps.realtime.models import Acknowledged, SignIn, StoredEvent
from apps.realtime.models import Stream as StreamRow
from apps.realtime.node import consumer as module
from apps.realtime.node import database, identity, shared_feed
from apps.realtime.node.node import Node
from apps.realtime.node.writer import PlainWriter
from apps.realtime.publishing import sequencer
from apps.realtime.publishing.control import announce
from apps.realtime.signin import password_digest
from apps.realtime.topics import TopicRegistry, topic
from tests.unit.conftest import MakeToken, MakeUser

from .conftest import MakeNode, OpenSocket
from .sockets import Socket

# Sockets ask the database in another thread: it has to see what the test saved.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_waiting")]


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse seed clients as slowly as tests can bear."""
    monkeypatch.setattr(module, "SEED_REFUSAL_SECS", 0.01)


@pytest.fixture
def alice(make_user: MakeUser) -> Any:
    """A user."""
    return make_user("alice")


@pytest.fixture
def mark(alice: Any) -> str:
    """Alice's sign-in; made here because a test that runs in the event loop must not use the database."""
    mark = "m" * 32
    SignIn.touch(mark, str(alice.pk), password_digest(alice))
    return mark


@pytest.fixture
def token(alice: Any, mark: str, make_token: MakeToken) -> str:
    """Alice's token."""
    return make_token(alice, mark=mark)


@pytest.fixture
def bobs_token(make_user: MakeUser, make_token: MakeToken) -> str:
    """Another user's token."""
    return make_token(make_user("bob"))


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def code_of(text: str) -> str:
    """The code of an ERROR."""
    frame = json.loads(text)
    assert frame["id"] == "ERROR"
    return str(frame["data"]["code"])


def subscribe(
    topic: str, ref: str = "r", *, frame_id: str = "SUBSCRIBE", since: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {"id": frame_id, "data": {"topic": topic, "ref": ref, "since": since}}


def ack(received: int) -> dict[str, Any]:
    return {"id": "ACK", "data": {"n": received}}


def commit(stream: Stream, count: int, text: str = "") -> list[Event]:
    """Store the next events of a stream and number them, as `notify` and the outbox do; it uses the database."""
    template = EventTemplate("note/ADDED", text, DjangoJSONEncoder)
    events = [template.for_stream(stream, mid=uuid4().hex, ts=0.0) for _ in range(count)]
    StoredEvent.objects.bulk_create(
        StoredEvent(stream=stream, mid=one.mid, event_id=one.id, frame=one.frame) for one in events
    )
    done: list[Event] = []
    while more := sequencer.number([stream]):
        done += more
    return done


def trim(stream: Stream, floor: int) -> None:
    StoredEvent.objects.filter(stream=stream, seq__lte=floor).delete()
    StreamRow.objects.filter(name=stream).update(floor=floor)


def restore(stream: Stream, head: int) -> None:
    """As from a backup: what was later has never been."""
    StoredEvent.objects.filter(stream=stream, seq__gt=head).delete()
    StreamRow.objects.filter(name=stream).update(head=head)


async def flow(node: Node, stream: Stream, count: int = 1, text: str = "") -> None:
    """Commit events while the node runs, and let it hear of them."""
    for one in await asyncio.to_thread(commit, stream, count, text):
        node.hub.deliver(one)


def let_verdicts_age(node: Node) -> None:
    """What the rules said counts no more."""
    for right in node.rights._all():
        right.checked_at = float("-inf")


async def seqs(socket: Socket, count: int) -> list[int]:
    return [(await socket.frame())["seq"] for _ in range(count)]


# The handshake -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [([], None), (["realtime.v1"], "realtime.v1"), (["x", "realtime.v1"], "realtime.v1"), (["realtime.v2"], None)],
)
async def test_the_subprotocol_is_echoed_if_it_is_ours(
    open_socket: OpenSocket, offered: list[str], chosen: str | None
) -> None:
    """RFC 6455, 4.2.2: the server names the one that it uses, or none."""
    socket = open_socket(subprotocols=offered)
    frame = await socket.frame()
    assert frame["id"] == "AUTH REQUEST"
    assert ("data" in frame) is (chosen is not None)
    assert socket.accepted == {"type": "websocket.accept", "subprotocol": chosen}


@pytest.mark.parametrize(
    "origin", ["https://evil.example", None, "null", "http://testserver.evil", "https://testserver"]
)
async def test_a_foreign_origin_is_accepted_told_and_closed_4505(open_socket: OpenSocket, origin: str | None) -> None:
    texts, code = await open_socket(origin=origin).closed()
    assert [code_of(text) for text in texts] == ["origin_refused"]
    assert code == 4505
    assert await open_socket(origin=origin, v1=False).closed() == ([], 4505)


async def test_a_foreign_origin_costs_the_honest_nothing(open_socket: OpenSocket, make_node: MakeNode) -> None:
    node = make_node(connects_per_address_per_sec=0.1)
    for _ in range(3):
        assert (await open_socket(node, origin="null").closed())[1] == 4505
    assert (await open_socket(node).frame())["id"] == "AUTH REQUEST"


@pytest.mark.parametrize(
    ("limit", "code", "error"),
    [
        ({"connects_per_address_per_sec": 0.1}, 4008, "rate_limited"),
        ({"max_sockets_per_address": 1}, 4504, "too_many_connections"),
    ],
)
async def test_an_address_has_its_limits(
    open_socket: OpenSocket, make_node: MakeNode, limit: dict[str, Any], code: int, error: str
) -> None:
    node = make_node(**limit)
    await open_socket(node).frame()
    texts, closed = await open_socket(node).closed()
    assert ([code_of(text) for text in texts], closed) == ([error], code)
    assert await open_socket(node, v1=False).closed() == ([], code)
    assert (await open_socket(node, address="192.0.2.2").frame())["id"] == "AUTH REQUEST"


async def test_a_socket_that_ends_makes_room_for_another(open_socket: OpenSocket, make_node: MakeNode) -> None:
    node = make_node(max_sockets_per_address=1)
    for _ in range(3):
        socket = open_socket(node)
        await socket.frame()
        await socket.leave()


async def test_without_an_address_there_is_no_limit_by_address(open_socket: OpenSocket, make_node: MakeNode) -> None:
    node = make_node(max_sockets_per_address=1)
    for _ in range(3):
        await open_socket(node, address=None).frame()


async def test_unauthenticated_sockets_count_for_their_address(open_socket: OpenSocket, make_node: MakeNode) -> None:
    node = make_node(max_sockets_per_address=20)
    for _ in range(20):
        await open_socket(node).frame()
    assert (await open_socket(node).closed())[1] == 4504


# Authentication ----------------------------------------------------------------------------------


async def test_the_article_s_conversation(open_socket: OpenSocket, alice: Any, token: str) -> None:
    socket = open_socket(v1=False)
    assert await socket.text() == '{"id": "AUTH REQUEST"}'
    socket.say("no_auth_token_user bad_token")
    assert await socket.ids(2) == ["AUTH FAILED", "AUTH REQUEST"]
    socket.say(token)
    assert await socket.text() == '{"id": "AUTH OK"}'
    push(alice, "EXAMPLE ID", {"n": 1})
    frame = await socket.frame()
    assert (frame["id"], frame["data"]) == ("EXAMPLE ID", {"n": 1})


async def test_v1_in_one_round_trip(open_socket: OpenSocket, alice: Any, token: str) -> None:
    socket = open_socket()
    ok = await socket.authenticate(token, ["news", "order-1", "order-2", "nope"])
    assert ok["data"]["user"] == str(alice.pk)
    assert abs(ok["data"]["exp"] - time.time() - 900) < 60
    states = {name: stream["state"] for name, stream in ok["data"]["streams"].items()}
    assert states == {
        f"user.{alice.pk}": "new",
        "all": "new",
        "topic.news": "new",
        "topic.order-1": "new",
        "topic.order-2": "denied",
        "topic.nope": "denied",
    }


@pytest.mark.parametrize("v1", [True, False])
async def test_three_bad_tokens_end_it_with_4501(open_socket: OpenSocket, v1: bool) -> None:
    socket = open_socket(v1=v1)
    await socket.frame()
    for _ in range(3):
        socket.say("bad.token")
    texts, code = await socket.closed()
    assert [json.loads(text)["id"] for text in texts] == [
        "AUTH FAILED",
        "AUTH REQUEST",
        "AUTH FAILED",
        "AUTH REQUEST",
        "AUTH FAILED",
    ]
    assert code == 4501


@pytest.mark.parametrize("v1", [True, False])
async def test_who_never_authenticates_is_closed_4003(open_socket: OpenSocket, make_node: MakeNode, v1: bool) -> None:
    socket = open_socket(make_node(auth_timeout_secs=0.05), v1=v1)
    await socket.frame()
    assert await socket.closed() == ([], 4003)


async def test_every_refusal_looks_the_same(
    open_socket: OpenSocket, alice: Any, mark: str, make_token: MakeToken
) -> None:
    expired = make_token(alice, mark=mark, now=time.time() - 10_000)
    ended = make_token(alice, mark="0" * 32)
    answers = []
    for bad in ("junk", expired, ended):
        socket = open_socket()
        await socket.frame()
        socket.say(bad)
        answers.append(await socket.frame())
    assert answers == [{"id": "AUTH FAILED", "data": {"code": "token_refused", "final": False}}] * 3


@pytest.mark.parametrize("v1", [True, False])
async def test_a_token_of_another_user_closes_an_open_socket(
    open_socket: OpenSocket, token: str, bobs_token: str, v1: bool
) -> None:
    socket = open_socket(v1=v1)
    await socket.authenticate(token)
    socket.say(bobs_token)
    assert await socket.closed() == ([], 4503)


@pytest.mark.parametrize("v1", [True, False])
async def test_a_token_about_to_expire_is_asked_for_and_a_newer_one_keeps_the_socket(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, mark: str, make_token: MakeToken, token: str, v1: bool
) -> None:
    node = make_node()
    socket = open_socket(node, v1=v1)
    await socket.authenticate(token)
    [consumer] = node.consumers
    # The clock of this session alone goes on by 14 minutes.
    consumer._perform(consumer._session.tick(Instant(asyncio.get_running_loop().time() + 841, time.time() + 841)))
    assert (await socket.frame())["id"] == "AUTH REQUEST"
    assert await socket.text() == "<3"
    socket.say(token)
    assert await socket.ids(2) == ["AUTH FAILED", "AUTH REQUEST"]
    socket.say(make_token(alice, mark=mark, now=time.time() + 5))
    assert (await socket.frame())["id"] == "AUTH OK"
    push(alice, "x")
    assert (await socket.frame())["id"] == "x"


@pytest.mark.parametrize("v1", [True, False])
async def test_an_expired_token_ends_the_socket(
    open_socket: OpenSocket, alice: Any, mark: str, make_token: MakeToken, v1: bool
) -> None:
    socket = open_socket(v1=v1)
    await socket.authenticate(make_token(alice, mark=mark, now=time.time() - 899.5))
    texts, code = await socket.closed()
    assert [json.loads(text)["id"] for text in texts] == ["AUTH REQUEST"]
    assert code == 4003


async def test_a_user_has_a_bounded_number_of_tabs(open_socket: OpenSocket, make_node: MakeNode, token: str) -> None:
    node = make_node(max_sockets_per_user=2)
    tabs = [open_socket(node), open_socket(node)]
    for tab in tabs:
        await tab.authenticate(token)
    for v1 in (True, False):
        socket = open_socket(node, v1=v1)
        await socket.frame()
        socket.say(token)
        texts, code = await socket.closed()
        assert [code_of(text) for text in texts] == (["too_many_connections"] if v1 else [])
        assert code == 4504
    await tabs[0].leave()
    await open_socket(node).authenticate(token)
    # A refresh takes no second place.
    tabs[1].say(token)
    assert (await tabs[1].frame())["id"] == "AUTH OK"


# No verdict --------------------------------------------------------------------------------------


@pytest.fixture
def database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question to the database fails."""

    def fail(*args: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(identity, "identify", fail)
    monkeypatch.setattr(identity, "allowed_topics", fail)


async def check_sent_away(socket: Any, *, v1: bool) -> None:
    texts, code = await socket.closed()
    assert code == 4006
    frames = [json.loads(text) for text in texts]
    if v1:
        [frame] = frames
        assert frame["id"] == "RECONNECT"
        assert frame["data"]["reason"] == "database"
        assert 500 <= frame["data"]["after_ms"] <= 4_000
    else:
        assert frames == []


@pytest.mark.parametrize("v1", [True, False])
async def test_with_the_database_away_there_is_no_verdict_on_a_token(
    open_socket: OpenSocket, token: str, database_is_away: None, v1: bool
) -> None:
    advised = sample("realtime_reconnects_advised_total", reason="database")
    socket = open_socket(v1=v1)
    await socket.frame()
    socket.say(token)
    await check_sent_away(socket, v1=v1)
    assert sample("realtime_reconnects_advised_total", reason="database") == advised + 1


async def test_a_slow_topic_rule_holds_up_nobody_else(
    open_socket: OpenSocket, make_node: MakeNode, token: str, bobs_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, asked, answer = make_node(), threading.Event(), threading.Event()

    def slow(*args: Any) -> dict[str, None]:
        asked.set()
        answer.wait(30)
        return {"news": None}

    monkeypatch.setattr(identity, "allowed_topics", slow)
    alices, bobs = open_socket(node), open_socket(node)
    await alices.authenticate(token)
    alices.say(subscribe("news"))
    try:
        assert await asyncio.to_thread(asked.wait, 10)
        await bobs.authenticate(bobs_token)
    finally:
        answer.set()
    assert (await alices.frame())["data"]["state"] == "denied"


async def test_with_the_database_away_there_is_no_verdict_on_topics(
    open_socket: OpenSocket, token: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    good = identity.identify
    before, after = open_socket(), open_socket()
    await before.authenticate(token)
    request.getfixturevalue("database_is_away")
    before.say(subscribe("news"))
    await check_sent_away(before, v1=True)
    monkeypatch.setattr(identity, "identify", good)
    await after.frame()
    after.say({"id": "AUTH", "data": {"token": token, "topics": ["news"]}})
    await check_sent_away(after, v1=True)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A database that does not answer before the event is set."""
    release = threading.Event()

    def hang(*args: Any) -> Any:
        release.wait(30)
        raise OperationalError("too late")

    monkeypatch.setattr(identity, "identify", hang)
    yield release
    release.set()


@pytest.mark.parametrize("v1", [True, False])
async def test_a_database_that_hangs_is_as_good_as_away(
    open_socket: OpenSocket, monkeypatch: pytest.MonkeyPatch, hanging: threading.Event, v1: bool
) -> None:
    monkeypatch.setattr(database, "TIMEOUT_SECS", 0.05)
    socket = open_socket(v1=v1)
    await socket.frame()
    socket.say("some.token")
    await check_sent_away(socket, v1=v1)
    hanging.set()


async def test_the_deadline_holds_while_a_token_is_verified(
    open_socket: OpenSocket, make_node: MakeNode, hanging: threading.Event
) -> None:
    socket = open_socket(make_node(auth_timeout_secs=0.1))
    await socket.frame()
    socket.say("some.token")
    assert await socket.ended() == 4003
    hanging.set()
    assert await socket.closed() == ([], 4003)


async def test_the_heads_are_read_after_the_feeds_are_open(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resume, 2: what is committed while a feed opens is neither missed by the head nor by the feed."""
    node, stream = make_node(), user_stream(str(alice.pk))
    opening, may_open = asyncio.Event(), asyncio.Event()
    open_feed = node._listener.open

    async def open_slowly(stream: Any) -> None:
        opening.set()
        await may_open.wait()
        await open_feed(stream)

    monkeypatch.setattr(node._listener, "open", open_slowly)
    for topics in ([], ["news"]):
        socket = open_socket(node)
        await socket.frame()
        opening.clear()
        may_open.clear()
        socket.say({"id": "AUTH", "data": {"token": token, "topics": topics}})
        await opening.wait()
        [last] = await asyncio.to_thread(commit, stream, 1)
        may_open.set()
        assert (await socket.frame())["data"]["streams"][stream]["seq"] == last.seq


async def test_a_socket_that_ends_while_its_streams_open_leaves_nothing_behind(
    open_socket: OpenSocket, make_node: MakeNode, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    opening, may_open = asyncio.Event(), asyncio.Event()

    async def open_slowly(stream: Any) -> None:
        opening.set()
        await may_open.wait()

    monkeypatch.setattr(node._listener, "open", open_slowly)
    socket = open_socket(node)
    await socket.frame()
    socket.say(token)
    await opening.wait()
    [consumer] = node.consumers
    consumer.send_away(5)
    may_open.set()
    texts, code = await socket.closed()
    assert [json.loads(text)["id"] for text in texts] == ["RECONNECT"]
    assert code == 4001
    assert_empty(node)


# The session and its rights ----------------------------------------------------------------------


@pytest.mark.parametrize("v1", [True, False])
async def test_a_sign_out_closes_the_sockets_of_its_session_and_no_other(
    open_socket: OpenSocket, make_node: MakeNode, make_token: MakeToken, alice: Any, mark: str, token: str, v1: bool
) -> None:
    nodes = [make_node(), make_node()]
    other_token = await asyncio.to_thread(make_token, alice)
    mine = [open_socket(node, v1=v1) for node in nodes]
    other = open_socket(nodes[0])
    for socket in mine:
        await socket.authenticate(token)
    await other.authenticate(other_token)
    await asyncio.to_thread(SignIn.end, mark, str(alice.pk))
    announce(Change(str(alice.pk)))
    for socket in mine:
        assert await socket.closed() == ([], 4503)
    push(alice, "still here")
    assert (await other.frame())["id"] == "still here"


async def test_what_the_project_revokes_is_told_and_may_be_asked_for_again(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str, bobs_token: str
) -> None:
    node = make_node()
    mine, bobs = open_socket(node), open_socket(node)
    await mine.authenticate(token, ["news"])
    await bobs.authenticate(bobs_token, ["news"])
    revoke(alice, "news")
    assert await mine.frame() == {"id": "UNSUBSCRIBED", "data": {"topic": "news", "reason": "revoked"}}
    push(Topic("news"), "for bob")
    assert (await bobs.frame())["id"] == "for bob"
    mine.say(subscribe("news"))
    assert (await mine.frame())["data"]["state"] == "new"


@pytest.mark.parametrize("way", ["AUTH", "SUBSCRIBE"])
async def test_a_right_that_is_lost_while_the_topic_opens_is_denied(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    node, opening, may_open = make_node(), asyncio.Event(), asyncio.Event()
    open_feed = node._listener.open

    async def open_slowly(stream: Any) -> None:
        if stream == "topic.news":
            opening.set()
            await may_open.wait()
        await open_feed(stream)

    monkeypatch.setattr(node._listener, "open", open_slowly)
    socket = open_socket(node)
    if way == "AUTH":
        await socket.frame()
        socket.say({"id": "AUTH", "data": {"token": token, "topics": ["news", "order-1"]}})
    else:
        await socket.authenticate(token)
        socket.say(subscribe("news"))
    await opening.wait()
    monkeypatch.setattr(node.topics, "allows", lambda user, name: name != "news")
    node.standing.changed(Change(str(alice.pk), "news"))
    may_open.set()
    told = (await socket.frame())["data"]
    if way == "AUTH":
        assert {name: told["streams"][f"topic.{name}"]["state"] for name in ("news", "order-1")} == {
            "news": "denied",
            "order-1": "new",
        }
    else:
        assert told["state"] == "denied"
    push(Topic("news"), "secret")
    push(alice, "mine")
    assert (await socket.frame())["id"] == "mine"
    assert not node.hub._feeds[topic_stream("news")].members


async def test_without_the_database_a_topic_that_opens_while_rights_change_has_no_verdict(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    socket = open_socket(node)
    await socket.authenticate(token)
    join = node.hub.join

    async def join_meanwhile(*arguments: Any) -> None:
        await join(*arguments)
        monkeypatch.setattr(identity, "allowed_topics", fail)
        node.standing.changed(Change(None))

    def fail(*args: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(node.hub, "join", join_meanwhile)
    socket.say(subscribe("news"))
    await check_sent_away(socket, v1=True)


async def test_a_sign_out_while_the_token_is_being_verified_refuses_it(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, mark: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, identified, may_answer = make_node(), threading.Event(), threading.Event()
    identify = identity.identify

    def identify_slowly(*args: Any) -> Any:
        who = identify(*args)
        identified.set()
        assert may_answer.wait(10)
        return who

    monkeypatch.setattr(identity, "identify", identify_slowly)
    socket = open_socket(node)
    await socket.frame()
    socket.say(token)
    assert await asyncio.to_thread(identified.wait, 10)
    await asyncio.to_thread(SignIn.end, mark, str(alice.pk))
    node.standing.changed(Change(str(alice.pk)))
    may_answer.set()
    assert (await socket.frame())["id"] == "AUTH FAILED"


# Events ------------------------------------------------------------------------------------------


async def test_an_event_reaches_every_tab_of_its_user_and_no_other(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str, bobs_token: str
) -> None:
    node = make_node()
    tabs = [open_socket(node), open_socket(node, v1=False)]
    bob = open_socket(node)
    for tab in tabs:
        await tab.authenticate(token)
    await bob.authenticate(bobs_token)
    push(alice, "for alice", {"text": "é\u2028"})
    push(EVERYONE, "for everybody")
    first, second = [await tab.text() for tab in tabs]
    # Byte for byte the same, in both dialects.
    assert first == second
    assert json.loads(first)["data"] == {"text": "é\u2028"}
    assert [(await tab.frame())["id"] for tab in (*tabs, bob)] == ["for everybody"] * 3


async def test_events_come_in_order(open_socket: OpenSocket, alice: Any, token: str) -> None:
    socket = open_socket()
    await socket.authenticate(token)
    for number in range(200):
        push(alice, "n", number)
    assert [(await socket.frame())["data"] for _ in range(200)] == list(range(200))


async def test_no_event_before_auth_ok(open_socket: OpenSocket, alice: Any, token: str) -> None:
    socket = open_socket()
    await socket.frame()
    push(EVERYONE, "too early")
    push(alice, "too early")
    socket.say(token)
    assert (await socket.frame())["id"] == "AUTH OK"
    push(alice, "in time")
    assert (await socket.frame())["id"] == "in time"


async def test_topics_are_heard_from_subscribed_to_unsubscribed(open_socket: OpenSocket, token: str) -> None:
    socket = open_socket()
    await socket.authenticate(token)
    push(Topic("news"), "before")
    socket.say(subscribe("news", "r1"))
    told = await socket.frame()
    assert told["id"] == "SUBSCRIBED"
    assert len(told["data"].pop("epoch")) == 16
    assert told["data"] == {
        "topic": "news",
        "ref": "r1",
        "stream": "topic.news",
        "seq": 0,
        "state": "new",
        "replay": 0,
    }
    push(Topic("news"), "meanwhile")
    assert (await socket.frame())["id"] == "meanwhile"
    socket.say(subscribe("news", "r2", frame_id="UNSUBSCRIBE"))
    assert await socket.frame() == {"id": "UNSUBSCRIBED", "data": {"topic": "news", "ref": "r2"}}
    push(Topic("news"), "after")
    push(EVERYONE, "last")
    assert (await socket.frame())["id"] == "last"


async def test_a_forbidden_and_an_unknown_topic_look_the_same(open_socket: OpenSocket, token: str, alice: Any) -> None:
    socket = open_socket()
    await socket.authenticate(token)
    answers = []
    for name in ("order-2", "order-boom", "unknown", "#", "*", "a.b", "news\0", "😀"):
        socket.say(subscribe(name))
        told = await socket.frame()
        assert told["data"].pop("topic") == name
        assert told["data"].pop("stream").count(".") == 1
        answers.append(told)
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["data"]["state"] == "denied"
    push(Topic("order-2"), "secret")
    push(alice, "mine")
    assert (await socket.frame())["id"] == "mine"


# Durable events and resume -----------------------------------------------------------------------


@pytest.fixture
def mine(alice: Any) -> Stream:
    """Alice's stream, in which five events are stored."""
    stream = user_stream(str(alice.pk))
    commit(stream, 5)
    return stream


@pytest.fixture
def epoch(mine: Stream) -> str:
    """Its numbering."""
    return StreamRow.objects.get(name=mine).epoch


async def test_without_since_a_stream_is_live_from_its_head_on(
    open_socket: OpenSocket, make_node: MakeNode, mine: Stream, epoch: str, token: str
) -> None:
    node = make_node()
    socket, seed = open_socket(node), open_socket(node, v1=False)
    ok = await socket.authenticate(token)
    await seed.authenticate(token)
    assert ok["data"]["streams"][mine] == {"epoch": epoch, "seq": 5, "state": "new", "replay": 0}
    await flow(node, mine, 2)
    texts = [await socket.text() for _ in range(2)]
    assert [json.loads(text)["seq"] for text in texts] == [6, 7]
    assert [await seed.text() for _ in range(2)] == texts


async def test_what_was_missed_follows_auth_ok_as_it_was_sent_to_others(
    open_socket: OpenSocket, make_node: MakeNode, mine: Stream, epoch: str, token: str
) -> None:
    node = make_node()
    witness = open_socket(node)
    await witness.authenticate(token)
    await flow(node, mine, 3)
    live = [await witness.text() for _ in range(3)]
    states = sample("realtime_stream_states_total", state="recovered")
    # One of them has the last events in memory.
    back = [open_socket(node), open_socket(make_node())]
    for socket in back:
        ok = await socket.authenticate(token, since={mine: {"epoch": epoch, "seq": 3}, "all": None})
        assert ok["data"]["streams"][mine] == {"epoch": epoch, "seq": 8, "state": "recovered", "replay": 5}
        assert ok["data"]["streams"]["all"]["state"] == "gap"
        assert await seqs(socket, 2) == [4, 5]
        assert [await socket.text() for _ in range(3)] == live
    assert sample("realtime_stream_states_total", state="recovered") == states + 2
    await flow(node, mine)
    assert await seqs(back[0], 1) == await seqs(witness, 1) == [9]


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        ({"epoch": None, "seq": 6}, "epoch"),  # beyond the head
        ({"epoch": None, "seq": 2**63 - 1}, "epoch"),
        ({"epoch": "unknown", "seq": 5}, "epoch"),
        ({"epoch": None, "seq": -1}, "epoch"),
        ({"epoch": None, "seq": 2**63}, "epoch"),
        ({"epoch": None, "seq": "5"}, "epoch"),
        ("junk", "epoch"),
        ({"epoch": None, "seq": 1}, "trimmed"),
        ({"epoch": None, "seq": 2}, "too_many"),
    ],
    ids=repr,
)
async def test_a_client_that_cannot_go_on_is_told_and_nobody_else_notices(
    open_socket: OpenSocket, make_node: MakeNode, mine: Stream, epoch: str, token: str, since: Any, reason: str
) -> None:
    node = make_node(replay_max=2 if reason == "too_many" else 500)
    other, socket = open_socket(node), open_socket(node)
    await other.authenticate(token)
    if reason == "trimmed":
        await asyncio.to_thread(trim, mine, 2)
    if isinstance(since, dict):
        since["epoch"] = since["epoch"] or epoch
    gaps = sample("realtime_gaps_total", reason=reason)
    ok = await socket.authenticate(token, since={mine: since})
    assert ok["data"]["streams"][mine] == {"epoch": epoch, "seq": 5, "state": "gap", "replay": 0, "reason": reason}
    assert sample("realtime_gaps_total", reason=reason) == gaps + 1
    await flow(node, mine)
    assert await seqs(socket, 1) == [6]
    assert await seqs(other, 1) == [6]
    assert await asyncio.to_thread(lambda: StreamRow.objects.get(name=mine).epoch) == epoch


async def test_a_right_that_was_lost_while_the_client_was_away_costs_it_that_stream_only(
    open_socket: OpenSocket, make_node: MakeNode, mine: Stream, epoch: str, token: str
) -> None:
    since = {mine: {"epoch": epoch, "seq": 4}, "topic.order-2": {"epoch": epoch, "seq": 1}}
    socket = open_socket()
    ok = await socket.authenticate(token, ["order-2"], since)
    streams = ok["data"]["streams"]
    assert streams["topic.order-2"] == {"epoch": None, "seq": 0, "state": "denied", "replay": 0, "topic": "order-2"}
    assert (streams[mine]["state"], streams["all"]["state"]) == ("recovered", "new")
    assert await seqs(socket, 1) == [5]


@pytest.mark.parametrize("way", ["AUTH", "SUBSCRIBE"])
async def test_a_right_that_is_lost_is_noticed_before_more_history_is_read(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Resume, 5: two tabs have room for one page each, and by the next one alice may not hear the topic any more."""
    node, news = make_node(), topic_stream("news")
    events = await asyncio.to_thread(commit, news, 300)
    since = {"epoch": events[0].epoch, "seq": 0}
    tabs = [open_socket(node) for _ in range(2)]
    for tab in tabs:
        if way == "AUTH":
            await tab.authenticate(token, ["news"], {news: since})
        else:
            await tab.authenticate(token)
            tab.say(subscribe("news", since=since))
            assert (await tab.frame())["data"]["state"] == "recovered"
        assert await seqs(tab, 256) == list(range(1, 257))
    revoked = sample("realtime_rights_revoked_total")
    monkeypatch.setattr(node.topics, "allows", lambda user, name: user.pk != alice.pk)
    let_verdicts_age(node)
    tabs[0].say(ack(256))
    for tab in tabs:
        assert await tab.frame() == {"id": "UNSUBSCRIBED", "data": {"topic": "news", "reason": "revoked"}}
    assert sample("realtime_rights_revoked_total") == revoked + 2
    tabs[1].say(ack(256))
    await flow(node, news)
    push(Topic("news"), "ephemeral")
    push(EVERYONE, "last")
    assert [(await tab.frame())["id"] for tab in tabs] == ["last", "last"]
    assert not node.rights._rights
    assert not node.rights._held


async def test_history_waits_while_there_is_no_verdict_and_live_events_do_not(
    open_socket: OpenSocket, make_node: MakeNode, token: str, bobs_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, news = make_node(), topic_stream("news")
    monkeypatch.setattr(shared_feed, "RETRY_SECS", 0.01)
    late, here = open_socket(node), open_socket(node)
    [*_, last] = await asyncio.to_thread(commit, news, 300)
    await late.authenticate(token, ["news"], {news: {"epoch": last.epoch, "seq": 0}})
    assert await seqs(late, 256) == list(range(1, 257))
    await here.authenticate(bobs_token, ["news"])
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def away(user: Any, name: str) -> bool:
        loop.call_soon_threadsafe(asked.set)
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(node.topics, "allows", away)
        let_verdicts_age(node)
        late.say(ack(256))
        await asked.wait()
        await flow(node, news)
        assert await seqs(here, 1) == [301]
    assert await seqs(late, 45) == list(range(257, 302))


async def test_a_topic_is_resumed_by_subscribe_too(open_socket: OpenSocket, make_node: MakeNode, token: str) -> None:
    node, news = make_node(), topic_stream("news")
    [*_, last] = await asyncio.to_thread(commit, news, 3)
    socket = open_socket(node)
    await socket.authenticate(token)
    socket.say(subscribe("news", since={"epoch": last.epoch, "seq": 1}))
    told = (await socket.frame())["data"]
    assert (told["state"], told["seq"], told["replay"]) == ("recovered", 3, 2)
    assert await seqs(socket, 2) == [2, 3]
    await flow(node, news)
    assert await seqs(socket, 1) == [4]


@pytest.mark.parametrize("way", ["AUTH", "SUBSCRIBE"])
async def test_a_topic_without_history_gives_none(
    open_socket: OpenSocket, make_node: MakeNode, token: str, way: str
) -> None:
    node, cursors = make_node(), topic_stream("cursors")

    @topic("cursors", history=False)
    def may_see_cursors(user: Any) -> bool:
        return True

    node.topics = TopicRegistry([may_see_cursors])
    [*_, last] = await asyncio.to_thread(commit, cursors, 3)
    for seq, state in ((2, "gap"), (3, "recovered")):
        socket, since = open_socket(node), {"epoch": last.epoch, "seq": seq}
        if way == "AUTH":
            told = (await socket.authenticate(token, ["cursors"], {cursors: since}))["data"]["streams"][cursors]
        else:
            await socket.authenticate(token)
            socket.say(subscribe("cursors", since=since))
            told = (await socket.frame())["data"]
        assert (told["state"], told["replay"]) == (state, 0)


async def test_events_in_flight_while_a_token_expires_arrive_once(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, mark: str, mine: Stream, epoch: str, make_token: MakeToken
) -> None:
    node = make_node()
    socket = open_socket(node)
    await socket.authenticate(make_token(alice, mark=mark, now=time.time() - 899.5))
    for _ in range(5):
        await flow(node, mine)
    ended = asyncio.create_task(socket.closed())
    while not ended.done():
        await flow(node, mine)
        await asyncio.sleep(0.02)
    texts, code = await ended
    await flow(node, mine)
    assert code == 4003
    got = [frame["seq"] for frame in map(json.loads, texts) if "seq" in frame]
    again = open_socket(node)
    ok = await again.authenticate(make_token(alice, mark=mark), since={mine: {"epoch": epoch, "seq": got[-1]}})
    told = ok["data"]["streams"][mine]
    assert (told["state"], told["replay"] >= 1) == ("recovered", True)
    got += await seqs(again, told["replay"])
    assert got == list(range(6, told["seq"] + 1))
    assert len(got) >= 10


async def test_with_a_full_window_ephemeral_events_are_lost_and_durable_ones_wait_for_the_ack(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, mine: Stream, epoch: str, token: str
) -> None:
    node = make_node()
    node.hub._cache = EventCache(100 * OVERHEAD_BYTES)
    socket = open_socket(node)
    await socket.authenticate(token)
    dropped = sample("realtime_events_window_dropped_total")
    await flow(node, mine, 250)
    for number in range(10):
        push(alice, "ephemeral", number)
    await flow(node, mine, 400)
    push(alice, "ephemeral", "lost too")
    first = [await socket.frame() for _ in range(256)]
    assert [frame["seq"] for frame in first[:250]] == list(range(6, 256))
    assert [frame["data"] for frame in first[250:]] == list(range(6))
    deadline = asyncio.get_running_loop().time() + 5
    while sample("realtime_events_window_dropped_total") < dropped + 5:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    assert socket._texts.empty()
    read = sample("realtime_deliveries_total", source="database")
    following: list[int] = []
    for received in (256, 512, 768):
        socket.say(ack(received))
        following += await seqs(socket, min(256, 400 - len(following)))
        if len(following) == 400:
            break
    assert following == list(range(256, 656))
    assert sample("realtime_deliveries_total", source="database") > read
    push(alice, "ephemeral", "in time")
    assert (await socket.frame())["data"] == "in time"


async def test_what_a_client_acknowledges_of_its_user_s_stream_is_written_down_where_somebody_asks_for_it(
    open_socket: OpenSocket, make_node: MakeNode, mine: Stream, epoch: str, token: str
) -> None:
    node = make_node(unseen_after_secs=900.0)
    socket = open_socket(node)
    await socket.authenticate(token)
    await flow(node, mine, 3)
    assert await seqs(socket, 3) == [6, 7, 8]
    socket.say(ack(2))
    socket.say("<3")
    assert node._acknowledgements is not None
    deadline = asyncio.get_running_loop().time() + 5
    while not node._acknowledgements._noted:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    await socket.leave()
    await node._acknowledgements.close()
    assert [(row.stream, row.epoch, row.seq) async for row in Acknowledged.objects.all()] == [(mine, epoch, 7)]


async def test_an_ack_of_what_was_not_sent_is_a_violation(open_socket: OpenSocket, token: str) -> None:
    socket = open_socket()
    await socket.authenticate(token)
    socket.say(ack(1))
    texts, code = await socket.closed()
    assert ([code_of(text) for text in texts], code) == (["bad_frame"], 4502)


async def test_what_is_trimmed_before_a_slow_reader_gets_it_is_a_gap_in_mid_connection(
    open_socket: OpenSocket, make_node: MakeNode, mine: Stream, epoch: str, token: str
) -> None:
    node = make_node()
    node.hub._cache = EventCache(100 * OVERHEAD_BYTES)
    socket = open_socket(node)
    await socket.authenticate(token)
    await flow(node, mine, 600)
    assert await seqs(socket, 256) == list(range(6, 262))
    await asyncio.to_thread(trim, mine, 300)
    gaps = sample("realtime_gaps_total", reason="trimmed")
    socket.say(ack(256))
    data = {"stream": mine, "epoch": epoch, "seq": 605, "reason": "trimmed"}
    assert await socket.frame() == {"id": "GAP", "data": data}
    assert sample("realtime_gaps_total", reason="trimmed") == gaps + 1
    await flow(node, mine)
    assert await seqs(socket, 1) == [606]


async def test_a_rotation_reaches_every_tab_before_anything_of_the_new_epoch(
    open_socket: OpenSocket, make_node: MakeNode, mine: Stream, epoch: str, token: str
) -> None:
    node = make_node()
    tab, seed = open_socket(node), open_socket(node, v1=False)
    await tab.authenticate(token)
    await seed.authenticate(token)
    other = await asyncio.to_thread(rotation.rotate_stream, mine)
    await flow(node, mine, 2)
    data = {"stream": mine, "epoch": other, "seq": 2, "reason": "epoch"}
    assert await tab.frame() == {"id": "GAP", "data": data}
    await flow(node, mine)
    assert await seqs(tab, 1) == await seqs(seed, 1) == [3]
    back = open_socket(node)
    ok = await back.authenticate(token, since={mine: {"epoch": epoch, "seq": 3}})
    assert ok["data"]["streams"][mine]["state"] == "gap"


@pytest.mark.parametrize("rowless", [True, False])
async def test_a_restored_backup_is_a_gap_for_everybody(
    open_socket: OpenSocket,
    make_node: MakeNode,
    mine: Stream,
    epoch: str,
    token: str,
    rowless: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = make_node()
    tabs = [open_socket(node) for _ in range(2)]
    for tab in tabs:
        await tab.authenticate(token)
    await flow(node, mine, 3)
    for tab in tabs:
        assert await seqs(tab, 3) == [6, 7, 8]
    await asyncio.to_thread(restore, mine, 4)
    if rowless:
        await asyncio.to_thread(StreamRow.objects.all().delete)
    back = open_socket(node)
    # What it has is all that the backup has; the numbers after it are given a second time.
    ok = await back.authenticate(token, since={mine: {"epoch": epoch, "seq": 4}})
    told = ok["data"]["streams"][mine]
    assert (told["state"], told["seq"], told["reason"]) == ("gap", 0, "epoch")
    for tab in tabs:
        data = {"stream": mine, "epoch": told["epoch"], "seq": 0, "reason": "epoch"}
        assert await tab.frame() == {"id": "GAP", "data": data}
    await flow(node, mine)
    assert [await seqs(tab, 1) for tab in (*tabs, back)] == [[1]] * 3
    assert "its numbering begins anew" in caplog.text


async def test_with_history_away_live_events_go_on_and_nobody_new_gets_a_verdict(
    open_socket: OpenSocket,
    make_node: MakeNode,
    mine: Stream,
    epoch: str,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = make_node()
    tab = open_socket(node)
    await tab.authenticate(token)
    events = await asyncio.to_thread(commit, mine, 3)

    def fail(*args: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(history, "heads", fail)
    node.hub.deliver(events[0])
    assert await seqs(tab, 1) == [6]
    for since in (None, {mine: {"epoch": epoch, "seq": 5}}, {mine: "corrupt"}):
        socket = open_socket(node)
        await socket.frame()
        socket.say({"id": "AUTH", "data": {"token": token, "since": since or {}}})
        await check_sent_away(socket, v1=True)
    seed = open_socket(node, v1=False)
    await seed.frame()
    seed.say(token)
    await check_sent_away(seed, v1=False)
    # A hole is no gap: it waits for the database.
    node.hub.deliver(events[2])
    await asyncio.sleep(0.2)
    assert tab._texts.empty()
    monkeypatch.undo()
    assert await seqs(tab, 2) == [7, 8]
    tab.say(subscribe("news"))
    assert (await tab.frame())["data"]["state"] == "new"


async def test_a_socket_that_ends_while_a_topic_opens_leaves_nothing_behind(
    open_socket: OpenSocket, make_node: MakeNode, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    socket = open_socket(node)
    await socket.authenticate(token)
    opening, may_open = asyncio.Event(), asyncio.Event()

    async def open_slowly(stream: Any) -> None:
        opening.set()
        await may_open.wait()

    monkeypatch.setattr(node._listener, "open", open_slowly)
    socket.say(subscribe("news"))
    await opening.wait()
    [consumer] = node.consumers
    consumer.send_away(5)
    may_open.set()
    texts, code = await socket.closed()
    assert [json.loads(text)["id"] for text in texts] == ["RECONNECT"]
    assert code == 4001
    assert_empty(node)


# Frames that are refused -------------------------------------------------------------------------


@pytest.mark.parametrize("v1", [True, False])
@pytest.mark.parametrize("signed_in", [True, False])
async def test_a_binary_frame_ends_it_with_4502(open_socket: OpenSocket, token: str, v1: bool, signed_in: bool) -> None:
    socket = open_socket(v1=v1)
    if signed_in:
        await socket.authenticate(token)
    else:
        await socket.frame()
    socket.say_binary(b"\x00\xff")
    texts, code = await socket.closed()
    assert [code_of(text) for text in texts] == (["binary_frame"] if v1 else [])
    assert code == 4502


@pytest.mark.parametrize("v1", [True, False])
async def test_a_frame_of_16_kib_and_a_byte_ends_it_with_4502(open_socket: OpenSocket, token: str, v1: bool) -> None:
    socket = open_socket(v1=v1)
    await socket.authenticate(token)
    socket.say("x" * (16 * 1024))
    assert await socket.ids(2) == ["AUTH FAILED", "AUTH REQUEST"]
    socket.say("x" * (16 * 1024 + 1))
    texts, code = await socket.closed()
    assert [code_of(text) for text in texts] == (["frame_too_large"] if v1 else [])
    assert code == 4502


async def test_100_junk_frames_are_told_and_the_101st_ends_it(open_socket: OpenSocket) -> None:
    socket = open_socket()
    await socket.frame()
    for number in range(101):
        socket.say({"id": "junk", "data": {"ref": number}})
    texts, code = await socket.closed()
    assert [code_of(text) for text in texts] == ["bad_frame"] * 100 + ["rate_limited"]
    assert code == 4502


async def test_json_from_a_seed_client_ends_it_with_4502(open_socket: OpenSocket) -> None:
    socket = open_socket(v1=False)
    await socket.frame()
    socket.say('{"id": "junk"}')
    assert await socket.closed() == ([], 4502)


# Heartbeat, slowness, drain ----------------------------------------------------------------------


async def test_the_heartbeat_comes_by_itself_and_has_to_be_echoed(
    open_socket: OpenSocket, make_node: MakeNode, token: str
) -> None:
    socket = open_socket(make_node(heartbeat_secs=0.05))
    await socket.authenticate(token)
    for _ in range(4):
        assert await socket.text() == "<3"
        socket.say("<3")
    assert await socket.closed() == (["<3", "<3"], 4005)


async def test_a_seed_client_need_not_echo(open_socket: OpenSocket, make_node: MakeNode, token: str) -> None:
    socket = open_socket(make_node(heartbeat_secs=0.02), v1=False)
    await socket.authenticate(token)
    assert [await socket.text() for _ in range(6)] == ["<3"] * 6
    assert socket.code is None


async def test_a_slow_seed_page_is_closed_4002_and_others_go_on(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str
) -> None:
    node = make_node()
    slow, other = open_socket(node, v1=False), open_socket(node)
    await slow.authenticate(token)
    await other.authenticate(token)
    reads = asyncio.Event()
    write = slow._send

    async def write_slowly(message: dict[str, Any]) -> None:
        await reads.wait()
        await write(message)

    writers = [consumer._writer for consumer in node.consumers]
    [writer] = [each for each in writers if isinstance(each, PlainWriter) and each._send == slow._send]
    writer._send = write_slowly
    for number in range(12):
        push(alice, "big", "x" * 200_000)
        assert (await other.frame())["id"] == "big"
        other.say(ack(number + 1))
    reads.set()
    texts, code = await slow.closed()
    assert code == 4002
    assert len(texts) <= 1
    push(alice, "next")
    assert (await other.frame())["id"] == "next"


async def test_a_v1_page_has_room_for_a_whole_window(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str
) -> None:
    """The window bounds what piles up for it, and its last frame may reach over 1 MiB: that is not too slow yet."""
    node = make_node()
    socket = open_socket(node)
    await socket.authenticate(token)
    reads = asyncio.Event()
    write = socket._send

    async def write_slowly(message: dict[str, Any]) -> None:
        await reads.wait()
        await write(message)

    [consumer] = node.consumers
    assert isinstance(consumer._writer, PlainWriter)
    consumer._writer._send = write_slowly
    dropped = sample("realtime_events_window_dropped_total")
    push(alice, "small", [-1])  # the server has it, and waits
    for number in range(12):
        push(alice, "big", [number, "x" * 200_000])
    deadline = asyncio.get_running_loop().time() + 5
    while sample("realtime_events_window_dropped_total") < dropped + 6:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    consumer.end_if_behind(asyncio.get_running_loop().time())
    reads.set()
    assert [(await socket.frame())["data"][0] for _ in range(7)] == list(range(-1, 6))
    assert socket.code is None
    # 2 MiB are too much for it as well.
    reads.clear()
    for _ in range(22):
        consumer._writer.write_text("x" * 100_000)
    consumer.end_if_behind(asyncio.get_running_loop().time())
    reads.set()
    _, code = await socket.closed()
    assert code == 4002


async def test_a_client_that_acknowledges_nothing_for_30_s_is_closed_4002(
    open_socket: OpenSocket, make_node: MakeNode, alice: Any, token: str
) -> None:
    node = make_node()
    socket = open_socket(node)
    await socket.authenticate(token)
    [consumer] = node.consumers
    push(alice, "one")
    await socket.frame()
    now = asyncio.get_running_loop().time()
    consumer.end_if_behind(now)
    consumer.end_if_behind(now + 29)
    assert socket.code is None
    consumer.end_if_behind(now + 30)
    assert await socket.closed() == ([], 4002)


async def test_a_drain_sends_every_client_away(open_socket: OpenSocket, make_node: MakeNode, token: str) -> None:
    node = make_node()
    v1, seed, silent = open_socket(node), open_socket(node, v1=False), open_socket(node)
    await v1.authenticate(token)
    await seed.authenticate(token)
    await silent.frame()
    advised = sample("realtime_reconnects_advised_total", reason="drain")
    await node.drain(5)
    assert sample("realtime_reconnects_advised_total", reason="drain") == advised + 3
    for socket, told in ((v1, ["RECONNECT"]), (seed, []), (silent, ["RECONNECT"])):
        texts, code = await socket.closed()
        assert [json.loads(text)["id"] for text in texts] == told
        assert code == 4001
    assert_empty(node)
    late = await open_socket(node).closed()
    assert ([code_of(text) for text in late[0]], late[1]) == (["going_down"], 4001)
    assert await open_socket(node, v1=False).closed() == ([], 4001)


async def test_no_name_of_a_user_a_stream_or_an_event_becomes_a_label(
    open_socket: OpenSocket, make_node: MakeNode, topics: TopicRegistry, make_user: MakeUser, make_token: MakeToken
) -> None:
    """What anybody may choose would make as many series as there are choices."""
    topics.rules = (*topics.rules, topic("room-{name}")(lambda user, name: True))
    node, user = make_node(), await asyncio.to_thread(make_user, "zebra")
    socket = open_socket(node, address="203.0.113.47")
    await socket.authenticate(await asyncio.to_thread(make_token, user))
    socket.say(subscribe("room-zebra"))
    await socket.frame()
    push(user, "event/ZEBRA", {"text": "zebra"})
    push(Topic("room-zebra"), "event/ZEBRA")
    await socket.ids(2)
    await flow(node, user_stream(str(user.pk)), 3, "zebra")
    await seqs(socket, 3)
    socket.say({"id": "frame-zebra"})
    await socket.frame()
    stranger = open_socket(node)
    await stranger.frame()
    stranger.say("token-zebra")
    await stranger.frame()
    shown = generate_latest().decode().lower()
    assert "realtime_deliveries_total" in shown
    assert "zebra" not in shown
    assert "203.0.113" not in shown
    assert str(user_stream(str(user.pk))) not in shown


def assert_empty(node: Node) -> None:
    """The node remembers no socket."""
    assert not node.rights._rights
    assert not node.rights._held
    assert not node.standing._guests
    assert node.consumers == set()
    assert [feed.members for feed in node.hub._feeds.values() if feed.members] == []
    assert not node.limits._users
    assert not node.limits._addresses


async def test_a_socket_that_is_gone_is_forgotten_everywhere(
    open_socket: OpenSocket, make_node: MakeNode, token: str
) -> None:
    gauge = sample("realtime_sessions", dialect="v1")
    node = make_node()
    socket = open_socket(node)
    await socket.authenticate(token, ["news"])
    assert len(node.consumers) == 1
    assert sample("realtime_sessions", dialect="v1") == gauge + 1
    await socket.leave()
    assert_empty(node)
    assert sample("realtime_sessions", dialect="v1") == gauge


async def test_what_the_server_ends_is_counted_by_code(open_socket: OpenSocket) -> None:
    before = sample("realtime_closes_total", code="4502")
    socket = open_socket()
    await socket.frame()
    socket.say_binary(b"x")
    await socket.closed()
    assert sample("realtime_closes_total", code="4502") == before + 1


async def test_no_token_is_logged(open_socket: OpenSocket, token: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    socket = open_socket()
    await socket.authenticate(token)
    for _ in range(3):
        socket.say(token[:-3] + "AAA")
    assert (await socket.closed())[1] == 4501
    assert "token refused" in caplog.text
    assert token[:30] not in caplog.text
