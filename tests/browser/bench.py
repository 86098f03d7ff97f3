"""A page that holds the browser client and nothing else, with the test as its server and its clock.

To add a case: `bench.connect(...)`, play the server by `open`, `send` and `close`, let time pass by `wait_ms`, and look
at `changes`, `events`, `topics`, `streams`, `gaps`, `shown` and `sent`.
"""

import json
import time
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
    Object.assign(window, { changes: [], events: [], topics: [], streams: [], gaps: [], snapshots: [], shown: [] });
    const snapshot = ({ streams, signal }) => new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => { asked.aborted = true; });
        const asked = {
            streams,
            aborted: false,
            give: (name, cursor) => resolve({ cursor, apply: () => window.shown.push(name) }),
            resolve,
            reject,
        };
        window.snapshots.push(asked);
    });
    const { snapshots, ...given } = options;
    window.connection = connect({
        ...given,
        ...(snapshots ? { snapshot } : {}),
        onState: (change) => window.changes.push(change),
        onEvent: (event) => {
            window.events.push(event);
            window.shown.push(event.data);
        },
        onTopic: (topic) => window.topics.push(topic),
        onStream: (change) => window.streams.push(change),
        onGap: (stream) => window.gaps.push(stream),
    });
}"""


class ClientBench:
    """Drives one page.

    Attributes:
        token_statuses: HTTP status of the next answers of the token endpoint; 200 when empty.
        token_requests: what the endpoint was asked, in order.
        html: the page; a test may replace it and call `load`.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.token_statuses: deque[int] = deque()
        self.token_requests: list[Request] = []
        self.html = EMPTY_PAGE
        page.add_init_script(path=Path(__file__).with_name("fake_socket.js"))
        page.route(f"{ORIGIN}/**", self._serve)
        page.clock.install(time=0)
        self.load()
        # From here on time passes by `wait_ms` only.
        page.clock.pause_at(1000)

    def load(self) -> None:
        """Go to the page, again."""
        self.page.goto(ORIGIN + "/")

    def connect(self, **options: Any) -> None:
        """Start the ES module's client; its first socket is there afterwards.

        With `snapshots=True` it has a handler for gaps, whose calls lie in the page's `snapshots`.
        """
        self.page.evaluate(_CONNECT, options)
        self.wait_ms(0)

    def online(self, *, heartbeat: float = 45, streams: dict[str, Any] | None = None) -> dict[str, Any]:
        """Play the server until AUTH OK on the newest socket, and return the data of the AUTH before it."""
        self.open()
        auth = self.request_auth()
        self.send("AUTH OK", heartbeat=heartbeat, streams=streams or {})
        return auth

    def reconnect(self, **streams: Any) -> dict[str, Any]:
        """The socket is lost, and the next one let in; returns what it said in AUTH."""
        self.close(1006)
        self.wait_ms(self.changes[-1]["retryInMs"])
        return self.online(streams=streams)

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

    def event(self, *seqs: int | None, stream: str = "user") -> None:
        """Events of a stream arrive, durable with these seqs, ephemeral for None; their data is `<stream><seq>`."""
        frames = [
            {"id": "example/EVENT", "data": f"{stream}{seq}", "stream": stream, **({} if seq is None else {"seq": seq})}
            for seq in seqs
        ]
        self.page.evaluate(
            "texts => { for (const text of texts) { sockets.at(-1).serverSend(text); } }", list(map(json.dumps, frames))
        )

    def give(self, name: str, cursor: dict[str, Any], *, asked: int = -1) -> None:
        """Answer a request for a snapshot (the last one): applying it adds its name to `shown`."""
        self.page.evaluate(
            "async ([name, cursor, asked]) => { snapshots.at(asked).give(name, cursor); }", [name, cursor, asked]
        )
        self._settle()

    def fail(self, *, asked: int = -1) -> None:
        """A request for a snapshot fails."""
        self.page.evaluate("asked => { snapshots.at(asked).reject(new Error('no network')); }", asked)
        self._settle()

    def _settle(self) -> None:
        """Let what hangs on answered promises happen."""
        self.page.evaluate("async () => { for (let i = 0; i < 10; i += 1) { await null; } }")

    def close(self, code: int) -> None:
        """The newest socket ends with this close code."""
        self.page.evaluate("code => sockets.at(-1).serverClose(code)", code)

    def wait_ms(self, milliseconds: int) -> None:
        """Let the page's clock run; every timer that is due fires in its turn."""
        self.page.clock.run_for(milliseconds)

    def run_until(self, expression: str) -> None:
        """Let the page's clock run until something is so that hangs on it and on answers of the token endpoint."""
        deadline = time.monotonic() + 30
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"not within 30 s: {expression}"
            self.page.clock.run_for(100)

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

    @property
    def streams(self) -> list[dict[str, Any]]:
        """What onStream got."""
        return list(self.page.evaluate("JSON.parse(JSON.stringify(streams))"))

    @property
    def gaps(self) -> list[str]:
        """What onGap got."""
        return list(self.page.evaluate("gaps"))

    @property
    def snapshots(self) -> list[list[str]]:
        """The streams of each request for a snapshot."""
        return list(self.page.evaluate("snapshots.map(({ streams }) => streams.map(({ stream }) => stream))"))

    @property
    def shown(self) -> list[Any]:
        """What the page applied, in order: data of events and names of snapshots."""
        return list(self.page.evaluate("shown"))

    def _serve(self, route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path.startswith("/js/"):
            route.fulfill(path=JS / path.removeprefix("/js/"), content_type="text/javascript")
        elif path == "/random_server.js":
            route.fulfill(path=Path(__file__).with_name("random_server.js"), content_type="text/javascript")
        elif path.endswith("/socket_auth_token"):
            self._give_token(route)
        elif path == "/":
            route.fulfill(body=self.html, content_type="text/html")
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
