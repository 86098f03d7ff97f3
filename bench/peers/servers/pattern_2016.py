"""The pattern of 2016, built anew: Tornado, ZeroMQ, a token after the socket is open (docs/performance.md).

`python -m bench.peers.servers.pattern_2016 proxy` is the XPUB/XSUB proxy between publishers and servers, `… serve PORT`
a server. A server hears everything and looks through its sockets for those that a message is meant for.
"""

import asyncio
import json
import os
import sys
from typing import Any, ClassVar

import jwt
import zmq
import zmq.asyncio
from tornado import ioloop, web, websocket

from bench.peers.tokens import user_of

_HEARTBEAT_SECS = 45
_PUBLISHERS = f"tcp://127.0.0.1:{os.environ['ZMQ_IN']}"
_SERVERS = f"tcp://127.0.0.1:{os.environ['ZMQ_OUT']}"


class Socket(websocket.WebSocketHandler):  # type: ignore[misc,unused-ignore]
    """One browser."""

    everybody: ClassVar["set[Socket]"] = set()

    def open(self, *args: str, **kwargs: str) -> None:
        """Ask who it is."""
        self.user = ""
        self.everybody.add(self)
        self.write_message('{"id": "AUTH REQUEST"}')

    def on_message(self, message: str | bytes) -> None:
        """A token."""
        if message == "<3":
            return
        try:
            self.user = user_of(str(message))
        except jwt.PyJWTError:
            self.write_message('{"id": "AUTH FAILED"}')
        else:
            self.write_message('{"id": "AUTH OK"}')

    def on_close(self) -> None:
        """It is gone."""
        self.everybody.discard(self)

    @classmethod
    def heartbeat(cls) -> None:
        """Keep the proxies in front from cutting the line."""
        for each in cls.everybody:
            each.write_message("<3")

    @classmethod
    def deliver(cls, to: str, text: str) -> None:
        """Write a message to whom it is meant for."""
        for each in cls.everybody:
            if each.user and to in ("*", each.user):
                each.write_message(text)


async def serve(port: int) -> None:
    """A server."""
    web.Application([("/websocket", Socket)]).listen(port, "127.0.0.1")
    ioloop.PeriodicCallback(Socket.heartbeat, _HEARTBEAT_SECS * 1000).start()
    messages: Any = zmq.asyncio.Context().socket(zmq.SUB)
    messages.setsockopt(zmq.SUBSCRIBE, b"")
    messages.connect(_SERVERS)
    while True:
        to, text = await messages.recv_multipart()
        Socket.deliver(to.decode(), text.decode())


def proxy() -> None:
    """What publishers and servers connect to."""
    context: Any = zmq.Context()
    incoming, outgoing = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    incoming.bind(_PUBLISHERS)
    outgoing.bind(_SERVERS)
    zmq.proxy(incoming, outgoing)


class Sender:
    """A publisher."""

    def __init__(self) -> None:
        self._context: Any = zmq.Context()
        self._out = self._context.socket(zmq.PUB)
        self._out.connect(_PUBLISHERS)

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """One message."""
        if to == "topic":
            raise ValueError("the pattern of 2016 has no topics")
        text = json.dumps({"id": "bench/EVENT", "data": event}, separators=(",", ":"))
        self._out.send_multipart([b"*" if to == "all" else b"%d" % key, text.encode()])

    def flush(self) -> None:
        """ZeroMQ says nothing of what has left."""


def sender() -> Sender:
    """For the publisher."""
    return Sender()


if __name__ == "__main__":
    if sys.argv[1] == "proxy":
        proxy()
    else:
        asyncio.run(serve(int(sys.argv[2])))
