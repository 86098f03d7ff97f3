"""A tab of the doctor's own: signs in at a node and waits for one event (docs/doctor.md)."""

import json
import threading
import time
from queue import SimpleQueue
from typing import Any, Final, NamedTuple

from ...conf import realtime_settings
from ...core.codes import AUTH, AUTH_FAILED, AUTH_OK, AUTH_REQUEST, HEARTBEAT, SUBPROTOCOL, CloseCode
from .door import Door
from .findings import Finding, fail, one_line
from .probe import PROBE_ID
from .websocket import Closed, NoWebSocket, WebSocket

_ADVICE: Final = {
    CloseCode.AUTH_FAILED: "the node has another REALTIME_SECRET, SECRET_KEY or clock than this process, or another "
    "database",
    CloseCode.ORIGIN_REFUSED: "the host of --url, or the first of ALLOWED_HOSTS, must be a host that the node knows as "
    "its own: the same ALLOWED_HOSTS everywhere",
    CloseCode.TOO_MANY_CONNECTIONS: "the user has all sockets open that REALTIME_MAX_SOCKETS_PER_USER allows",
    CloseCode.RESYNC: "the node has no database or is resyncing: read its log",
    CloseCode.DRAIN: "the node is going down",
}


class Opened(NamedTuple):
    """The tab is signed in; `behind_secs` is how far the node's clock is behind this process's."""

    door: Door
    took_secs: float
    behind_secs: float


class Arrived(NamedTuple):
    """The event is there; `at` is monotonic."""

    door: Door
    at: float


class Failed(NamedTuple):
    """The tab is of no use, for this reason."""

    door: Door
    finding: Finding


News = SimpleQueue[Opened | Arrived | Failed]


def open_tab(door: Door, token: str, probe: str, news: News, within_secs: float) -> None:
    """Open one in a thread of its own, which tells `news` what happens: `Opened` and `Arrived`, or `Failed`.

    The event is that of the id `PROBE_ID` with `probe` in its data.
    """
    deadline = time.monotonic() + within_secs

    def follow() -> None:
        try:
            _follow(door, token, probe, news, deadline)
        except Closed as closed:
            news.put(Failed(door, _closed(door, closed.code)))
        except NoWebSocket as error:
            news.put(
                Failed(door, fail(f"{door.name} opens no socket: {error}", "see REALTIME_PATH and that it is a node"))
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            news.put(Failed(door, fail(f"{door.name} opens no socket: {one_line(error)}", "see that it runs")))

    threading.Thread(target=follow, name="message-flow-doctor-tab", daemon=True).start()


def _follow(door: Door, token: str, probe: str, news: News, deadline: float) -> None:
    began = time.monotonic()
    socket = WebSocket.open(door, realtime_settings().path, SUBPROTOCOL, deadline)
    try:
        asked = False
        while True:
            text = socket.receive(deadline)
            at = time.monotonic()
            if text == HEARTBEAT:
                socket.send(HEARTBEAT, deadline)
                continue
            frame: dict[str, Any] = json.loads(text)
            match frame["id"]:
                case id if id == AUTH_REQUEST and not asked:
                    asked = True
                    socket.send(json.dumps({"id": AUTH, "data": {"token": token}}), deadline)
                case id if id == AUTH_OK:
                    news.put(Opened(door, at - began, time.time() - float(frame["data"]["now"])))
                case id if id == AUTH_FAILED:
                    raise Closed(CloseCode.AUTH_FAILED)
                case id if id == PROBE_ID and frame["data"] == {"probe": probe}:
                    news.put(Arrived(door, at))
                    return
    finally:
        socket.close()


def _closed(door: Door, code: int) -> Finding:
    try:
        known = CloseCode(code)
    except ValueError:
        return fail(f"{door.name} closes the socket with {code}", "read the node's log")
    name = known.name.lower().replace("_", " ")
    return fail(f"{door.name} closes the socket with {code} ({name})", _ADVICE.get(known, "read the node's log"))
