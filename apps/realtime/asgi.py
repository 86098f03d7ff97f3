"""`application(django_app)`: the ASGI entry that serves the socket beside the project's own (docs/node.md).

    # mysite/asgi.py; the order matters: Django first, as this package needs its apps
    django_app = get_asgi_application()
    from message_flow.asgi import application as realtime_application
    application = realtime_application(django_app)

The project's own Channels routes stay where they are: wrap the ProtocolTypeRouter that holds them.
"""

from typing import Any, Final

from django.core.handlers.asgi import ASGIHandler
from django.db import connections

from .conf import realtime_settings
from .health import NODE_SCOPE_KEY
from .node.lifetime import Lifetime
from .node.node import Node
from .publishing.process import is_in_memory, publishing_process
from .publishing.relay import EmbeddedRelay, Relay
from .topics import topic_registry

# `notify` in another shell is seen within a second, even where that shell could not hand its event over.
EMBEDDED_EVERY_SECS: Final = 0.5


class RealtimeApplication:
    """Takes the WebSocket path and the lifespan, and hands everything else to the wrapped application."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._path = realtime_settings().path
        self._lifetime = Lifetime(_make_node, _make_embedded_relay)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifetime.lifespan(receive, send)
        elif scope["type"] == "websocket" and scope["path"] == self._path:
            await self._lifetime.node().serve(scope, receive, send)
        elif scope["type"] == "websocket" and _speaks_http_only(self._app):
            await send({"type": "websocket.close"})
        else:
            await self._app(scope | {NODE_SCOPE_KEY: self._lifetime.node()}, receive, send)


def application(app: Any) -> RealtimeApplication:
    """Serve the socket in front of `app`, Django's ASGI application or the project's own router.

    Raises:
        ImproperlyConfigured: a setting cannot work.
    """
    return RealtimeApplication(app)


def _make_node() -> Node:
    node = Node(realtime_settings(), publishing_process().exchange, topic_registry())
    if not is_in_memory(connections[realtime_settings().database]):
        node.answers.start()
    return node


def _make_embedded_relay() -> EmbeddedRelay | None:
    """With the in-process broker nobody else can publish what another process has left behind."""
    conf = realtime_settings()
    if conf.amqp_urls or is_in_memory(connections[conf.database]):
        return None
    return EmbeddedRelay(Relay(conf, publishing_process().publisher, every_secs=EMBEDDED_EVERY_SECS))


def _speaks_http_only(app: Any) -> bool:
    # Django's own handler answers a WebSocket with an exception.
    return isinstance(app, ASGIHandler)
