"""A page that holds the browser client and nothing else, with the test as its server and its clock.

To add a case: `bench.connect(...)`, play the server by `open`, `send` and `close`, let time pass by `wait_ms`, and look
at `changes`, `events`, `topics` and `sent`.
"""

import json
from collections import deque
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, Request, Route

JS: Final = Path(__file__).parents[2] / "static" / "js"
ORIGIN: Final = "http://client.test"
# Written into the page before its scripts; a test may replace it.
EMPTY_PAGE: Final = '<!doctype html><title>bench</title><b id="connected"></b><b id="authenticated"></b>'

_CONNECT: Final = """async (options) => {
    const { connect } = await import("/js/realtime.js");
    Object.assign(window, { changes: [], events: [], topics: [] });
    window.connection = connect({
        ...options,
        onState: (change) => window.changes.push(change),
        onEvent: (event) => window.events.push(event),
        onTopic: (topic) => window.topics.push(topic),
    });
}"""


class ClientBench:
    """Drives one page.

    Attributes:
        token_statuses: HTTP status of the next answers of the token endpoint; 200 when empty.
        token_requests: what the endpoint was asked, in order.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.token_statuses: deque[int] = deque()
        self.token_requests: list[Request] = []
        page.add_init_script(path=Path(__file__).with_name("fake_socket.js"))
        page.route(f"{ORIGIN}/**", self._serve)
        page.clock.install(time=0)
        page.goto(ORIGIN + "/")
        # From here on time passes by `wait_ms` only.
        page.clock.pause_at(1000)

    def connect(self, **options: Any) -> None:
        """Start the ES module's client; its first socket is there afterwards."""
        self.page.evaluate(_CONNECT, options)
        self.wait_ms(0)

    def online(self, *, heartbeat: float = 45, streams: dict[str, Any] | None = None) -> None:
        """Play the server until AUTH OK on the newest socket."""
        self.open()
        self.request_auth()
        self.send("AUTH OK", heartbeat=heartbeat, streams=streams or {})

    def request_auth(self, reason: str = "connect") -> dict[str, Any]:
        """Send AUTH REQUEST and return the data of the AUTH that answers it."""
        before = len(self.sent)
        self.send("AUTH REQUEST", reason=reason)
        self.page.wait_for_function("before => sockets.at(-1).sent.length > before", arg=before)
        answer = json.loads(self.sent[-1])
        assert answer["id"] == "AUTH"
        data: dict[str, Any] = answer["data"]
        return data

    def open(self) -> None:
        """The newest socket's handshake succeeds."""
        self.page.evaluate("sockets.at(-1).serverOpen()")

    def send(self, frame_id: str, **data: Any) -> None:
        """A frame arrives on the newest socket."""
        self.send_text(json.dumps({"id": frame_id, "data": data}))

    def send_text(self, text: str) -> None:
        """A text frame arrives on the newest socket."""
        self.page.evaluate("text => sockets.at(-1).serverSend(text)", text)

    def close(self, code: int) -> None:
        """The newest socket ends with this close code."""
        self.page.evaluate("code => sockets.at(-1).serverClose(code)", code)

    def wait_ms(self, milliseconds: int) -> None:
        """Let the page's clock run; every timer that is due fires in its turn."""
        self.page.clock.run_for(milliseconds)

    def until(self, expression: str) -> None:
        """Wait for something that does not hang on the page's clock, such as an answer of the token endpoint."""
        self.page.wait_for_function(expression)

    @property
    def sockets(self) -> int:
        """How many sockets the page has opened so far."""
        return int(self.page.evaluate("sockets.length"))

    @property
    def sent(self) -> list[str]:
        """Frames that the client sent on the newest socket."""
        return list(self.page.evaluate("sockets.at(-1).sent"))

    @property
    def sent_ids(self) -> list[str]:
        """Their ids, or the text itself where it is no JSON."""
        return [json.loads(text)["id"] if text.startswith("{") else text for text in self.sent]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What onState got."""
        return list(self.page.evaluate("changes"))

    @property
    def states(self) -> list[str]:
        """The states of it."""
        return [change["state"] for change in self.changes]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What onEvent got."""
        return list(self.page.evaluate("events"))

    @property
    def topics(self) -> list[dict[str, Any]]:
        """What onTopic got."""
        return list(self.page.evaluate("topics"))

    def _serve(self, route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path.startswith("/js/"):
            route.fulfill(path=JS / path.removeprefix("/js/"), content_type="text/javascript")
        elif path.endswith("/socket_auth_token"):
            self._give_token(route)
        elif path == "/":
            route.fulfill(body=EMPTY_PAGE, content_type="text/html")
        else:
            route.fulfill(status=404, body="")

    def _give_token(self, route: Route) -> None:
        self.token_requests.append(route.request)
        status = self.token_statuses.popleft() if self.token_statuses else 200
        token = f"token-{len(self.token_requests)}"
        if status != 200:
            route.fulfill(status=status, body="")
        elif route.request.headers.get("accept") == "application/json":
            route.fulfill(json={"token": token, "expires_at": 900})
        else:
            route.fulfill(body=token, content_type="text/plain")
