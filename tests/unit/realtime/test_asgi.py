"""`application(django_app)`: what goes where (docs/node.md)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.urls import re_path
from pytest_django import Settings

from apps.realtime.asgi import RealtimeApplication, _make_embedded_relay, _make_node, application
from apps.realtime.health import NODE_SCOPE_KEY
from apps.realtime.node.answers import Answers
from apps.realtime.node.node import Node
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.publishing.relay import EmbeddedRelay
from apps.realtime.topics import TopicRegistry

from .node.sockets import Socket


class Inner:
    """The project's own ASGI application; it notes what it is asked for."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": None})
            await send({"type": "websocket.send", "text": '{"id": "the project\'s own"}'})
            await send({"type": "websocket.close", "code": 4900})
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def ended(process: PublishingProcess, topics: TopicRegistry) -> AsyncIterator[list[RealtimeApplication]]:
    """Applications whose nodes end with the test."""
    applications: list[RealtimeApplication] = []
    yield applications
    for one in applications:
        await one._lifetime.node().close()


def wrap(app: Any, ended: list[RealtimeApplication]) -> RealtimeApplication:
    ended.append(application(app))
    return ended[-1]


async def get(app: RealtimeApplication, path: str) -> tuple[int, bytes]:
    """Status and body of a GET."""
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"testserver")]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http"}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def test_the_socket_s_path_is_ours(ended: list[RealtimeApplication]) -> None:
    inner = Inner()
    socket = Socket(wrap(inner, ended)).open()
    assert (await socket.frame())["id"] == "AUTH REQUEST"
    await socket.leave()
    assert inner.scopes == []


@pytest.mark.parametrize("path", ["/", "/websocket/", "/websocket2", "/chat", "//websocket"])
async def test_any_other_path_is_the_project_s(ended: list[RealtimeApplication], path: str) -> None:
    inner = Inner()
    app = wrap(inner, ended)
    socket = Socket(app, path=path).open()
    assert (await socket.frame())["id"] == "the project's own"
    assert (await socket.closed())[1] == 4900
    assert [scope["path"] for scope in inner.scopes] == [path]


async def test_the_path_is_a_setting(ended: list[RealtimeApplication], settings: Settings) -> None:
    settings.REALTIME_PATH = "/live/socket"
    app = wrap(Inner(), ended)
    socket = Socket(app, path="/live/socket").open()
    assert (await socket.frame())["id"] == "AUTH REQUEST"
    await socket.leave()
    assert (await Socket(app).open().frame())["id"] == "the project's own"


async def test_the_project_s_channels_routes_stay_where_they_are(ended: list[RealtimeApplication]) -> None:
    routes = ProtocolTypeRouter({"websocket": URLRouter([re_path("^chat$", Inner())])})  # type: ignore[arg-type, list-item]
    app = wrap(routes, ended)
    assert (await Socket(app, path="/chat").open().frame())["id"] == "the project's own"


async def test_django_alone_refuses_a_foreign_path_politely(ended: list[RealtimeApplication]) -> None:
    """Its handler would raise; a close before the accept is a 403."""
    socket = Socket(wrap(get_asgi_application(), ended), path="/chat").open()
    assert await socket.closed() == ([], 1000)
    assert socket.accepted is None


async def test_pages_know_the_node_that_serves_beside_them(ended: list[RealtimeApplication]) -> None:
    inner = Inner()
    app = wrap(inner, ended)
    assert await get(app, "/page") == (204, b"")
    [scope] = inner.scopes
    assert isinstance(scope[NODE_SCOPE_KEY], Node)


@pytest.mark.django_db(transaction=True)
async def test_readyz_of_a_node_checks_the_listener(ended: list[RealtimeApplication]) -> None:
    app = wrap(get_asgi_application(), ended)
    assert await get(app, "/readyz") == (200, b'{"status": "ok", "checks": {"database": "ok", "listener": "ok"}}')
    app._lifetime.node().draining = True
    status, body = await get(app, "/readyz")
    assert status == 503
    assert b'"listener": "going down"' in body


async def test_a_server_with_lifespan_starts_and_drains_the_node(
    process: PublishingProcess, topics: TopicRegistry
) -> None:
    app = application(Inner())
    to_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan"}, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    assert (await asyncio.wait_for(from_app.get(), 5))["type"] == "lifespan.startup.complete"
    node = app._lifetime.node()
    socket = Socket(app).open()
    await socket.frame()
    to_app.put_nowait({"type": "lifespan.shutdown"})
    assert (await socket.closed())[1] == 4001
    assert (await asyncio.wait_for(from_app.get(), 5))["type"] == "lifespan.shutdown.complete"
    await asyncio.wait_for(task, 5)
    assert node.draining


async def test_a_lifespan_that_ends_before_anything_happened_is_quiet() -> None:
    sent: list[dict[str, str]] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.shutdown"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message)

    await application(Inner())({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.shutdown.complete"}]


def test_only_the_in_process_broker_embeds_a_relay(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, process: PublishingProcess
) -> None:
    in_memory = _make_embedded_relay()
    monkeypatch.setattr(connections["default"], "is_in_memory_db", lambda: False)
    on_disk = _make_embedded_relay()
    settings.REALTIME_AMQP_URL = "amqp://localhost/"
    assert (in_memory, type(on_disk), _make_embedded_relay()) == (None, EmbeddedRelay, None)


async def test_a_node_answers_to_who_asks_unless_its_database_is_a_test_s(
    monkeypatch: pytest.MonkeyPatch, process: PublishingProcess, topics: TopicRegistry
) -> None:
    started: list[Answers] = []
    monkeypatch.setattr(Answers, "start", lambda answers: started.append(answers))
    in_memory = _make_node()
    assert not started
    monkeypatch.setattr(connections["default"], "is_in_memory_db", lambda: False)
    on_disk = _make_node()
    assert started == [on_disk.answers]
    for node in (in_memory, on_disk):
        await node.close()


def test_a_setting_that_cannot_work_stops_the_server_at_once(settings: Settings) -> None:
    settings.REALTIME_SECRET = "short"
    with pytest.raises(ImproperlyConfigured, match="REALTIME_SECRET"):
        application(Inner())
