"""Django Channels with channels_redis, as their documentation sets them up (docs/performance.md).

`LAYER=core` or `LAYER=pubsub`. The token comes in the query string and is checked by a middleware, which is the
documentation's example of one's own authentication. A consumer joins the group of its user, that of all and a topic's.
Publishers send the JSON as text: no consumer has to encode it again.
"""

import asyncio
import json
import os
from typing import Any
from urllib.parse import parse_qs

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

from bench.peers.tokens import user_of

_LAYERS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
settings.configure(
    SECRET_KEY="of a measurement",  # noqa: S106
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": _LAYERS[os.environ["LAYER"]],
            # redis-py 8 gives up after 5 s unless told otherwise, and with it every consumer that hears nothing
            # (django/channels_redis#422).
            "CONFIG": {"hosts": [{"address": f"redis://127.0.0.1:{os.environ['REDIS_PORT']}", "socket_timeout": None}]},
        }
    },
)
django.setup()


class TokenMiddleware:
    """Puts the user of the token into the scope."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        query = parse_qs(scope["query_string"].decode())
        scope["user"] = user_of(query["token"][0])
        scope["topic"] = query.get("topic", [""])[0]
        return await self._app(scope, receive, send)


class Consumer(AsyncWebsocketConsumer):
    """Passes on what comes for its groups."""

    async def connect(self) -> None:
        scope: Any = self.scope
        self.joined = ["all", f"user.{scope['user']}"] + ([scope["topic"]] if scope["topic"] else [])
        for group in self.joined:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        for group in self.joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def news(self, message: dict[str, str]) -> None:
        """A message of a group with the type `news`."""
        await self.send(text_data=message["text"])


application = TokenMiddleware(
    ProtocolTypeRouter({"websocket": URLRouter([path("websocket", Consumer.as_asgi())])})  # type: ignore[arg-type,list-item]
)


class Sender:
    """`group_send` from another process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._layer: Any = get_channel_layer()

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """One message."""
        group = "all" if to == "all" else f"user.{key}" if to == "user" else f"bench-{key}"
        message = {"type": "news", "text": json.dumps(event, separators=(",", ":"))}
        self._loop.run_until_complete(self._layer.group_send(group, message))

    def flush(self) -> None:
        """Each send has waited for Redis."""


def sender() -> Sender:
    """For the publisher."""
    return Sender()
