"""What a client of each system says until it is authenticated, and afterwards (docs/performance.md)."""

import json
from typing import TYPE_CHECKING, Protocol

from bench.peers.wire import handshake

if TYPE_CHECKING:
    from bench.peers.load import Connection


class Dialect(Protocol):
    """One way to speak over a WebSocket; the same object serves all connections.

    Attributes:
        acknowledges: events received are counted to the server as realtime.v1 asks.
    """

    acknowledges: bool

    def handshake(self, port: int, user: int, token: str, topic: str) -> bytes:
        """The HTTP request."""

    def opened(self, connection: "Connection") -> None:
        """The server has accepted the socket."""

    def told(self, connection: "Connection", text: bytes) -> None:
        """A text came that is no event."""


class V1:
    """Message Flow's realtime.v1, as static/js/session.js speaks it: heartbeats sent back, events acknowledged."""

    acknowledges = True

    def handshake(self, port: int, user: int, token: str, topic: str) -> bytes:
        return handshake(port, "/websocket", ["Sec-WebSocket-Protocol: realtime.v1"])

    def opened(self, connection: "Connection") -> None:
        pass

    def told(self, connection: "Connection", text: bytes) -> None:
        if text == b"<3":
            connection.say(text)
            return
        told = json.loads(text)
        if told["id"] == "AUTH REQUEST":
            data: dict[str, object] = {
                "token": connection.token,
                "topics": [connection.topic] if connection.topic else [],
            }
            if connection.cursors:
                data["since"] = connection.cursors
            connection.say(json.dumps({"id": "AUTH", "data": data}).encode())
        elif told["id"] == "AUTH OK":
            streams = told["data"]["streams"]
            connection.states = [stream["state"] for stream in streams.values()]
            connection.cursors = {
                name: {"epoch": stream["epoch"], "seq": stream["seq"]} for name, stream in streams.items()
            }
            connection.ready()
        elif told["id"] in ("AUTH FAILED", "ERROR", "RECONNECT"):
            connection.failed(text.decode())


class Pattern2016:
    """Asked for a token, the client sends it as it is."""

    acknowledges = False

    def handshake(self, port: int, user: int, token: str, topic: str) -> bytes:
        return handshake(port, "/websocket")

    def opened(self, connection: "Connection") -> None:
        pass

    def told(self, connection: "Connection", text: bytes) -> None:
        if text == b"<3":
            return
        told = json.loads(text)["id"]
        if told == "AUTH REQUEST":
            connection.say(connection.token.encode())
        elif told == "AUTH OK":
            connection.ready()
        else:
            connection.failed(told)


class SocketIO:
    """Engine.IO 4 over WebSocket alone, the token in the `auth` of the connect packet."""

    acknowledges = False

    def handshake(self, port: int, user: int, token: str, topic: str) -> bytes:
        return handshake(port, "/socket.io/?EIO=4&transport=websocket")

    def opened(self, connection: "Connection") -> None:
        pass

    def told(self, connection: "Connection", text: bytes) -> None:
        if text[:1] == b"0":
            auth = {"token": connection.token, "topic": connection.topic}
            connection.say(b"40" + json.dumps(auth).encode())
        elif text[:2] == b"40":
            connection.ready()
        elif text == b"2":
            connection.say(b"3")
        elif text[:2] == b"44":
            connection.failed(text.decode())


class Query:
    """User and token in the query string; the socket is the client's when the server accepts it."""

    acknowledges = False

    def handshake(self, port: int, user: int, token: str, topic: str) -> bytes:
        return handshake(port, f"/websocket?user={user}&topic={topic}&token={token}")

    def opened(self, connection: "Connection") -> None:
        connection.ready()

    def told(self, connection: "Connection", text: bytes) -> None:
        pass


DIALECTS: dict[str, Dialect] = {"v1": V1(), "2016": Pattern2016(), "socketio": SocketIO(), "query": Query()}
