"""python-socketio, as its documentation sets it up (docs/performance.md).

`MANAGER=redis` or `MANAGER=amqp` behind uvicorn. The token comes in the `auth` of the connect packet. A client enters
the room of its user and that of a topic; whoever emits without a room reaches all.
"""

import os
from typing import Any

import jwt
import socketio

from bench.peers.tokens import user_of

_REDIS = f"redis://127.0.0.1:{os.environ.get('REDIS_PORT')}/0"
_AMQP = os.environ.get("AMQP_URL", "")
_IS_REDIS = os.environ["MANAGER"] == "redis"

server = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(_REDIS) if _IS_REDIS else socketio.AsyncAioPikaManager(_AMQP),
    cors_allowed_origins="*",
)
application = socketio.ASGIApp(server)


@server.event  # type: ignore[untyped-decorator]
async def connect(sid: str, environ: Any, auth: dict[str, str]) -> None:
    """Check the token, enter the rooms."""
    try:
        user = user_of(auth["token"])
    except jwt.PyJWTError as error:
        raise ConnectionRefusedError("refused") from error
    await server.enter_room(sid, f"user.{user}")
    if auth["topic"]:
        await server.enter_room(sid, auth["topic"])


class Sender:
    """`emit` from another process."""

    def __init__(self) -> None:
        self._manager: Any = (
            socketio.RedisManager(_REDIS, write_only=True)
            if _IS_REDIS
            else socketio.KombuManager(_AMQP, write_only=True)
        )

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """One event."""
        room = None if to == "all" else f"user.{key}" if to == "user" else f"bench-{key}"
        self._manager.emit("bench/EVENT", event, room=room)

    def flush(self) -> None:
        """Each emit has been written to the broker's socket."""


def sender() -> Sender:
    """For the publisher."""
    return Sender()
