"""Django Channels with channels_redis, as their documentation sets them up (docs/chaos.md).

`daphne bench.drops.channels_peer:application` is the server, `python -m bench.drops.channels_peer publish RATE` sends
to it, `python -m bench.drops.channels_peer listen COUNT URL…` are its clients. Runs in the environment of the peers.
"""

import asyncio
import json
import os
import random
import sys
from contextlib import suppress

import django
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from bench.drops.roles import listen, publish

GROUP = "everybody"
# The same as in the tab that stands for ours.
FIRST_BACKOFF_SECS = 0.25
LONGEST_BACKOFF_SECS = 2.0

settings.configure(
    SECRET_KEY="of a measurement",  # noqa: S106
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [("127.0.0.1", int(os.environ["REDIS_PORT"]))]},
        }
    },
)
django.setup()


class Consumer(AsyncWebsocketConsumer):
    """Joins the group, passes its messages on."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def news(self, event: dict[str, object]) -> None:
        """A message of the group with the type `news`."""
        await self.send(text_data=json.dumps(event["data"]))


application = ProtocolTypeRouter({"websocket": URLRouter([path("websocket", Consumer.as_asgi())])})  # type: ignore[arg-type,list-item]


def send(n: int) -> None:
    """Publish one message from outside the server."""
    layer = get_channel_layer()
    assert layer is not None
    async_to_sync(layer.group_send)(GROUP, {"type": "news", "data": {"n": n}})


async def client(url: str, received: list[int]) -> None:
    """A page's WebSocket, reconnected by the page, which is all that Channels leaves to it."""
    backoff = FIRST_BACKOFF_SECS
    while True:
        with suppress(OSError, TimeoutError, WebSocketException):
            async with connect(f"ws://{url}/websocket", open_timeout=5, compression=None, proxy=None) as socket:
                backoff = FIRST_BACKOFF_SECS
                async for text in socket:
                    received.append(json.loads(text)["n"])
        await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311
        backoff = min(2 * backoff, LONGEST_BACKOFF_SECS)


if __name__ == "__main__":
    if sys.argv[1] == "publish":
        publish(send, float(sys.argv[2]))
    else:
        asyncio.run(listen(client, int(sys.argv[2]), sys.argv[3:]))
