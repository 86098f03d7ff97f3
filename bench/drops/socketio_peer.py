"""python-socketio with its Redis manager, as its documentation sets it up (docs/chaos.md).

`uvicorn bench.drops.socketio_peer:application` is the server, `python -m bench.drops.socketio_peer publish RATE` sends
to it, `python -m bench.drops.socketio_peer listen COUNT URL…` are its clients, with the library's own reconnection. The
connection state recovery of Socket.IO 4.6 exists in its JavaScript server alone. Runs in the environment of the peers.
"""

import asyncio
import os
import sys
from functools import lru_cache

import socketio

from bench.drops.roles import listen, publish

REDIS = f"redis://127.0.0.1:{os.environ['REDIS_PORT']}/0"

application = socketio.ASGIApp(
    socketio.AsyncServer(async_mode="asgi", client_manager=socketio.AsyncRedisManager(REDIS), cors_allowed_origins="*")
)


@lru_cache(maxsize=1)
def _emitter() -> socketio.RedisManager:
    return socketio.RedisManager(REDIS, write_only=True)


def send(n: int) -> None:
    """Publish one message from outside the server."""
    _emitter().emit("news", {"n": n})


async def client(url: str, received: list[int]) -> None:
    """A client as the library makes it."""
    page = socketio.AsyncClient()
    page.on("news", lambda data: received.append(data["n"]))
    # The first attempt is retried like the later ones.
    await page.connect(f"http://{url}", transports=["websocket"], retry=True)
    await page.wait()


if __name__ == "__main__":
    if sys.argv[1] == "publish":
        publish(send, float(sys.argv[2]))
    else:
        asyncio.run(listen(client, int(sys.argv[2]), sys.argv[3:]))
