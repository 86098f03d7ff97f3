"""The product's home page in Chromium, through nginx (docs/stack.md)."""

from dataclasses import dataclass, field

from playwright.sync_api import Page, Response, WebSocket, expect

from ops.services import wait_for
from tests.stack.checkout import PASSWORD, Checkout

# A page's backoff is 30 s at most; a broker needs 10 to be back.
RECOVERY_MS = 60_000


@dataclass
class Home:
    """A signed-in home page and what its connection did.

    Attributes:
        sockets: every socket that the page has opened.
        heartbeats: how many came, over all of them.
    """

    page: Page
    stack: Checkout
    sockets: list[WebSocket] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    heartbeats: int = 0

    def __post_init__(self) -> None:
        self.page.on("websocket", self._opened)
        self.page.on("response", self._answered)

    def expect_online(self, timeout_ms: float = RECOVERY_MS) -> None:
        """The two indicators say so."""
        expect(self.page.locator("#connected")).to_have_text("Online", timeout=timeout_ms)
        expect(self.page.locator("#authenticated")).to_have_text("Yes", timeout=timeout_ms)

    def expect_event(self, event_id: str) -> None:
        """The event is in this tab's log."""
        expect(self.page.locator("#events")).to_contain_text(event_id, timeout=15_000)

    def wait_for_age(self, secs: float) -> None:
        """Wait until the page has been open for `secs`."""
        # Not Playwright's wait_for_function: its polling needs the eval that the page's policy forbids.
        age_secs = "() => performance.now() / 1000"
        wait_for(lambda: self.page.evaluate(age_secs) > secs, secs + 30, f"the page is {secs} s old", poll_secs=0.2)

    def _opened(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framereceived", self._received)

    def _received(self, payload: str | bytes) -> None:
        self.heartbeats += payload == "<3"

    def _answered(self, response: Response) -> None:
        if response.url.endswith("/socket_auth_token") and response.ok:
            self.tokens.append(response.json()["token"])


def open_home(page: Page, stack: Checkout, name: str) -> Home:
    """Sign in as `name` by the form and wait until the home page is online."""
    home = Home(page, stack)
    page.goto(f"{stack.base}/accounts/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    home.expect_online()
    return home
