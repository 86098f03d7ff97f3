"""Daphne with nothing behind it: an empty consumer of Channels, and a plain ASGI callable (docs/performance.md).

No token, no broker, no groups. `FLOOR=consumer daphne … bench.peers.servers.floor_daphne:application`. Neither does
more on connect than to write itself down; events come by `feed`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from bench.peers.servers import feed

Send = Callable[[str], Awaitable[None]]

settings.configure(SECRET_KEY="of a floor", INSTALLED_APPS=["channels"])  # noqa: S106
django.setup()

sockets: dict[str, Send] = {}
# The feed's server and the sends under way.
tasks: set["asyncio.Task[None]"] = set()


def _spawn(work: Any) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _deliver(to: str, key: str, text: str) -> None:
    _spawn(_send_all(list(sockets.values()) if to == "all" else [sockets[key]], text))


async def _send_all(sends: list[Send], text: str) -> None:
    for send in sends:
        await send(text)


def _enter(scope: Any, send: Send) -> str:
    if not sockets:
        _spawn(feed.serve(_deliver))
    user: str = parse_qs(scope["query_string"].decode())["user"][0]
    sockets[user] = send
    return user


class Consumer(AsyncWebsocketConsumer):
    """The empty consumer."""

    async def connect(self) -> None:
        _enter(self.scope, self.send)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        pass


async def callable_(scope: Any, receive: Any, send: Any) -> None:
    """The plain ASGI callable."""
    await receive()
    await send({"type": "websocket.accept"})
    _enter(scope, lambda text: send({"type": "websocket.send", "text": text}))
    while (await receive())["type"] != "websocket.disconnect":
        pass


application: Any = Consumer.as_asgi() if os.environ["FLOOR"] == "consumer" else callable_
sender = feed.sender
