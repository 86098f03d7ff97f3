"""realtime.js: when there is a socket, and when not (docs/browser-client.md)."""

import pytest

from .bench import ClientBench

RECONNECT_CODES = (1000, 1001, 1005, 1006, 1011, 4001, 4002, 4003, 4005, 4006, 4008, 4499, 3000)
STOP_CODES = (4501, 4502, 4503, 4504, 4505, 4500, 4999)


def test_first_authentication(bench: ClientBench) -> None:
    bench.connect(topics=["news", "article-1"])
    bench.open()
    assert bench.states == ["connecting"]

    assert bench.request_auth() == {"token": "token-1", "topics": ["news", "article-1"]}
    assert bench.states == ["connecting"]

    bench.send("AUTH OK", heartbeat=45, streams={})
    assert bench.states == ["connecting", "online"]
    assert bench.page.evaluate("connection.state") == "online"


def test_the_socket_is_at_the_pages_own_host_and_offers_the_subprotocol(bench: ClientBench) -> None:
    bench.connect()
    assert bench.page.evaluate("sockets[0].url") == "ws://client.test/websocket"
    assert bench.page.evaluate("sockets[0].protocols") == ["realtime.v1"]


def test_the_addresses_can_be_set(bench: ClientBench) -> None:
    bench.connect(url="https://live.test/ws", tokenUrl="/site/socket_auth_token")
    bench.open()
    bench.request_auth()
    assert bench.page.evaluate("sockets[0].url") == "wss://live.test/ws"
    assert bench.token_requests[0].url == "http://client.test/site/socket_auth_token"


def test_a_bad_address_fails_at_the_call(bench: ClientBench) -> None:
    error = bench.page.evaluate(
        """async () => {
            const { connect } = await import("/js/realtime.js");
            try { connect({ url: "http://[" }); } catch (error) { return error.name; }
        }"""
    )
    assert error == "TypeError"


def test_the_token_is_kept_where_no_script_and_no_log_finds_it(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    page = bench.page
    assert bench.token_requests[0].headers["accept"] == "application/json"
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert "token-1" not in page.evaluate("sockets[0].url")
    assert "token-1" not in page.evaluate("JSON.stringify(Object.entries(connection))")


def test_codes_that_reconnect(bench: ClientBench) -> None:
    bench.connect()
    for code in RECONNECT_CODES:
        bench.online()
        bench.wait_ms(10_000)
        bench.close(code)
        offline = {"state": "offline", "code": code, "reason": "The connection was lost.", "retryInMs": 750}
        assert bench.changes[-1] == offline
        before = bench.sockets
        bench.wait_ms(749)
        assert bench.sockets == before
        bench.wait_ms(1)
        assert bench.sockets == before + 1
    assert bench.states == ["connecting", "online", "offline"] * len(RECONNECT_CODES) + ["connecting"]


def test_codes_that_stop(bench: ClientBench) -> None:
    for code in STOP_CODES:
        bench.connect()
        bench.online()
        bench.close(code)
        last = bench.changes[-1]
        assert (last["state"], last["code"], last["retryInMs"]) == ("stopped", code, None)
        assert last["reason"].endswith(".")
        bench.page.evaluate("window.dispatchEvent(new Event('online'))")
        bench.wait_ms(120_000)
    assert bench.sockets == len(STOP_CODES)


def test_each_known_stop_code_has_its_own_sentence(bench: ClientBench) -> None:
    count = bench.page.evaluate(
        """async () => {
            const { CLOSE_CODES, stopSentence, stops } = await import("/js/codes.js");
            return new Set(Object.keys(CLOSE_CODES).map(Number).filter(stops).map(stopSentence)).size;
        }"""
    )
    assert count == 5


@pytest.mark.parametrize(
    ("luck", "waits"),
    [
        (0, [500] * 18),
        (1, [1000, 2000, 4000, *[5000] * 13, 30_000, 30_000]),
        (0.5, [750, 1250, 2250, *[2750] * 13, 15_250, 15_250]),
    ],
)
def test_full_jitter_from_half_a_second_to_five_and_later_thirty(
    bench: ClientBench, luck: float, waits: list[int]
) -> None:
    bench.page.evaluate("luck => window.luck = luck", luck)
    bench.connect()
    seen = []
    for _ in waits:
        bench.close(1006)
        seen.append(bench.changes[-1]["retryInMs"])
        bench.wait_ms(seen[-1])
    assert seen == waits


def test_backoff_starts_again_after_a_stable_session_only(bench: ClientBench) -> None:
    bench.connect()
    for online_ms, retry_ms in ((9_999, 750), (9_999, 1250), (10_000, 750), (0, 1250)):
        bench.online()
        bench.wait_ms(online_ms)
        bench.close(1006)
        assert bench.changes[-1]["retryInMs"] == retry_ms
        bench.wait_ms(retry_ms)


@pytest.mark.parametrize(
    "wake",
    [
        "window.dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
        "window.dispatchEvent(new Event('pageshow'))",
    ],
)
def test_at_once_when_the_network_or_the_tab_returns(bench: ClientBench, wake: str) -> None:
    bench.connect()
    bench.close(1006)
    bench.page.evaluate(wake)
    assert bench.sockets == 2
    bench.wait_ms(1000)
    assert bench.sockets == 2, "the timer that was cut short must not open another socket"


def test_a_tab_that_goes_away_wakes_nothing(bench: ClientBench) -> None:
    bench.connect()
    bench.close(1006)
    bench.page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { value: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    assert bench.sockets == 1


def test_waking_leaves_a_live_socket_alone(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.wait_ms(50_000)
    bench.page.evaluate("window.dispatchEvent(new Event('online'))")
    assert (bench.sockets, bench.states[-1]) == (1, "online")


def test_waking_after_a_sleep_finds_the_dead_socket(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    # The wall clock goes on in a sleeping machine, timers do not.
    bench.page.evaluate("Date.now = () => 3_600_000")
    bench.page.evaluate("window.dispatchEvent(new Event('pageshow'))")
    assert bench.states[-1] == "offline"


@pytest.mark.parametrize("code", [4001, 4006])
def test_the_servers_wait_is_respected(bench: ClientBench, code: int) -> None:
    bench.connect()
    bench.online()
    bench.send("RECONNECT", after_ms=7000, reason="drain")
    bench.close(code)
    assert bench.changes[-1]["retryInMs"] == 7000
    bench.page.evaluate("window.dispatchEvent(new Event('online'))")
    bench.wait_ms(6999)
    assert bench.sockets == 1
    bench.wait_ms(1)
    assert bench.sockets == 2
    bench.close(1006)
    assert bench.changes[-1]["retryInMs"] == 1250, "the wait is for one time"


@pytest.mark.parametrize("after_ms", [None, "soon", -5])
def test_a_wait_that_is_none(bench: ClientBench, after_ms: object) -> None:
    bench.connect()
    bench.online()
    bench.send("RECONNECT", after_ms=after_ms, reason="drain")
    bench.close(4001)
    assert bench.changes[-1]["retryInMs"] == (0 if after_ms == -5 else 750)


def test_closing_is_final(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.page.evaluate("connection.close()")
    bench.page.evaluate("connection.close()")
    assert bench.states == ["connecting", "online", "stopped"]
    assert bench.page.evaluate("sockets[0].closedWith") == 1000
    bench.page.evaluate("window.dispatchEvent(new Event('online'))")
    bench.wait_ms(60_000)
    assert bench.sockets == 1


def test_closing_while_offline(bench: ClientBench) -> None:
    bench.connect()
    bench.close(1006)
    bench.page.evaluate("connection.close()")
    bench.wait_ms(60_000)
    assert (bench.sockets, bench.states[-1]) == (1, "stopped")
