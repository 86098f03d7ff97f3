"""A page of another origin that REALTIME_ALLOWED_ORIGINS names uses both clients (docs/browser-client.md)."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from playwright.sync_api import Page

from .bench import EMPTY_PAGE, JS
from .site import Site

_MODERN: Final = """async (site) => {
    const { connect } = await import("/js/realtime.js");
    const indicators = {
        connecting: ["Offline", "No"], online: ["Online", "Yes"], offline: ["Offline", "No"],
        "signed-out": ["Offline", "No"], stopped: ["Offline", "No"],
    };
    window.handled = [];
    connect({
        url: site + "/websocket",
        tokenUrl: site + "/socket_auth_token",
        onEvent: ({ id, data }) => window.handled.push({ id, data }),
        onState: ({ state }) => {
            [connected.textContent, authenticated.textContent] = indicators[state];
        },
    });
}"""

_OF_2016: Final = """(site) => new Promise((resolve) => {
    window.handled = [];
    window.$SCRIPT_ROOT = site;
    const script = document.createElement("script");
    script.src = "/js/websocket.js";
    script.onload = () => {
        createSocket(site.replace(/^http/, "ws") + "/websocket", ({ id, data }) => window.handled.push({ id, data }));
        resolve();
    };
    document.head.append(script);
})"""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def other_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web server of its own with an empty page and the scripts."""
    folder: Path = tmp_path_factory.mktemp("other")
    (folder / "index.html").write_text(EMPTY_PAGE)
    (folder / "favicon.ico").touch()
    (folder / "js").symlink_to(JS)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, other_origin: str) -> Iterator[Site]:
    """A site that trusts the other origin."""
    running = Site(tmp_path_factory.mktemp("site"), REALTIME_ALLOWED_ORIGINS=other_origin)
    yield running
    running.stop()


@pytest.mark.parametrize("client", [_MODERN, _OF_2016], ids=["realtime.js", "websocket.js"])
def test_a_page_of_a_trusted_origin_hears_its_user(site: Site, alice: Page, other_origin: str, client: str) -> None:
    page = alice.context.new_page()
    page.goto(other_origin + "/")
    page.evaluate(client, site.url)
    site.expect_online(page)
    site.push("alice", ("EXAMPLE ID", {"n": 1}))
    page.wait_for_function("handled.length > 0")
    assert page.evaluate("handled") == [{"id": "EXAMPLE ID", "data": {"n": 1}}]
