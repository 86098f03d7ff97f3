"""websocket.js: a page of the 2016 article works unchanged (docs/browser-client.md)."""

import json

import pytest

from .bench import ClientBench


class OldPage:
    """Plays the server of the old dialect to a page that loads the classic script."""

    def __init__(self, bench: ClientBench, *, script_root: str | None = None) -> None:
        self.bench = bench
        page = bench.page
        if script_root is not None:
            page.evaluate("root => window.$SCRIPT_ROOT = root", script_root)
        page.add_script_tag(url="/js/websocket.js")
        page.evaluate(
            """() => {
                window.handled = [];
                window.ws = createSocket("ws://" + location.host + "/websocket", (data) => handled.push(data));
            }"""
        )

    @property
    def indicators(self) -> tuple[str, str]:
        page = self.bench.page
        return page.locator("#connected").inner_text(), page.locator("#authenticated").inner_text()

    def authenticate(self) -> str:
        """AUTH REQUEST, the client's answer, AUTH OK."""
        token = self.ask_token()
        self.bench.send_text('{"id": "AUTH OK"}')
        return token

    def ask_token(self) -> str:
        before = len(self.bench.sent)
        self.bench.send_text('{"id": "AUTH REQUEST"}')
        self.bench.page.wait_for_function("before => sockets.at(-1).sent.length > before", arg=before)
        return self.bench.sent[-1]


@pytest.fixture
def old_page(bench: ClientBench) -> OldPage:
    return OldPage(bench)


def test_the_articles_sequence(old_page: OldPage) -> None:
    bench = old_page.bench
    assert bench.page.evaluate("[sockets[0].url, sockets[0].protocols]") == ["ws://client.test/websocket", []]
    bench.open()
    assert old_page.indicators == ("Online", "No")
    assert old_page.authenticate() == "token-1"
    assert old_page.indicators == ("Online", "Yes")
    bench.send_text("<3")
    bench.send_text(json.dumps({"id": "EXAMPLE ID", "data": {"n": 1}, "mid": "m"}))
    assert bench.page.evaluate("handled") == [{"id": "EXAMPLE ID", "data": {"n": 1}, "mid": "m"}]
    assert bench.sent == ["token-1"]


def test_no_cookie_and_no_other_library(old_page: OldPage) -> None:
    old_page.bench.open()
    old_page.authenticate()
    page = old_page.bench.page
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("[typeof $, typeof ReconnectingWebSocket]") == ["undefined", "undefined"]


@pytest.mark.parametrize(("root", "path"), [(None, ""), ("", ""), ("/site", "/site")])
def test_script_root(bench: ClientBench, root: str | None, path: str) -> None:
    old_page = OldPage(bench, script_root=root)
    bench.open()
    old_page.authenticate()
    assert bench.token_requests[0].url == f"http://client.test{path}/socket_auth_token"


def test_an_expiring_token_is_replaced_on_the_open_socket(old_page: OldPage) -> None:
    old_page.bench.open()
    old_page.authenticate()
    assert old_page.authenticate() == "token-2"
    assert old_page.indicators == ("Online", "Yes")


def test_a_refused_token_shows_and_the_next_one_is_new(old_page: OldPage) -> None:
    bench = old_page.bench
    bench.open()
    old_page.authenticate()
    old_page.ask_token()
    bench.send_text('{"id": "AUTH FAILED"}')
    assert old_page.indicators == ("Online", "No")
    assert old_page.authenticate() == "token-3"
    assert old_page.indicators == ("Online", "Yes")


def test_a_lost_socket_comes_back(old_page: OldPage) -> None:
    bench = old_page.bench
    bench.open()
    old_page.authenticate()
    bench.close(1006)
    assert old_page.indicators == ("Offline", "No")
    bench.wait_ms(750)
    bench.open()
    assert old_page.authenticate() == "token-2"


def test_backoff_starts_again_after_a_stable_session_only(old_page: OldPage) -> None:
    bench = old_page.bench
    for online_ms, retry_ms in ((9_999, 750), (9_999, 1250), (10_000, 750), (0, 1250)):
        sockets = bench.sockets
        bench.open()
        old_page.authenticate()
        bench.wait_ms(online_ms)
        bench.close(1006)
        bench.wait_ms(retry_ms - 1)
        assert bench.sockets == sockets
        bench.wait_ms(1)
        assert bench.sockets == sockets + 1


def test_a_renewal_does_not_make_a_session_younger(old_page: OldPage) -> None:
    bench = old_page.bench
    bench.close(1006)
    bench.wait_ms(750)
    bench.open()
    old_page.authenticate()
    bench.wait_ms(9_999)
    old_page.authenticate()
    bench.wait_ms(1)
    bench.close(1006)
    bench.wait_ms(750)
    assert bench.sockets == 3


def test_a_site_that_gives_no_token_is_tried_again(old_page: OldPage) -> None:
    bench = old_page.bench
    bench.token_statuses.append(502)
    bench.open()
    bench.send_text('{"id": "AUTH REQUEST"}')
    bench.until("sockets[0].readyState === 3")
    bench.wait_ms(750)
    bench.open()
    old_page.authenticate()
    assert old_page.indicators == ("Online", "Yes")


def test_a_silent_server_is_left(old_page: OldPage) -> None:
    bench = old_page.bench
    bench.open()
    old_page.authenticate()
    bench.wait_ms(90_000)
    assert old_page.indicators == ("Offline", "No")
    bench.wait_ms(750)
    assert bench.sockets == 2


@pytest.mark.parametrize("code", [4501, 4503])
def test_a_socket_that_was_closed_for_good_stays_closed(old_page: OldPage, code: int) -> None:
    bench = old_page.bench
    bench.open()
    bench.close(code)
    bench.wait_ms(120_000)
    assert (bench.sockets, old_page.indicators) == (1, ("Offline", "No"))


def test_nobody_signed_in(old_page: OldPage) -> None:
    bench = old_page.bench
    bench.token_statuses.append(401)
    bench.open()
    bench.send_text('{"id": "AUTH REQUEST"}')
    bench.until("sockets[0].readyState === 3")
    bench.wait_ms(120_000)
    assert bench.sockets == 1


def test_the_page_may_close_it(old_page: OldPage) -> None:
    bench = old_page.bench
    bench.close(1006)
    bench.page.evaluate("ws.close()")
    bench.wait_ms(120_000)
    assert bench.sockets == 1


def test_a_page_without_indicators(bench: ClientBench) -> None:
    bench.page.evaluate("document.body.replaceChildren()")
    old_page = OldPage(bench)
    bench.open()
    assert old_page.authenticate() == "token-1"
