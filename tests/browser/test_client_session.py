"""realtime.js: what is said on one socket (docs/protocol.md, "realtime.v1")."""

import json
from typing import Any

import pytest

from .bench import ClientBench


def event(number: int = 1) -> dict[str, Any]:
    return {"id": "example/EVENT", "data": {"n": number}, "stream": "user.1", "mid": f"m{number}", "ts": 1.5}


def test_an_event_is_handed_over_as_it_came(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.send_text(json.dumps(event()))
    assert bench.events == [event()]


def test_control_frames_and_heartbeats_are_no_events(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    for control in ("AUTH OK", "GAP", "ERROR", "RECONNECT", "SUBSCRIBED", "UNSUBSCRIBED", "AUTH FAILED", "ACK"):
        bench.send(control)
    bench.send_text("<3")
    assert bench.events == []
    assert bench.states[-1] == "online"


def test_nothing_is_an_event_before_auth_ok(bench: ClientBench) -> None:
    bench.connect()
    bench.open()
    bench.send_text(json.dumps(event()))
    bench.request_auth()
    bench.send_text(json.dumps(event()))
    assert bench.events == []


def test_junk_is_reported_and_changes_nothing(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    for text in ("", "no json", "null", "7", "[]", "{}", '{"id": 7}'):
        with bench.page.expect_event("pageerror"):
            bench.send_text(text)
    bench.send_text(json.dumps(event()))
    assert (bench.events, bench.states[-1]) == ([event()], "online")


@pytest.mark.parametrize("handler", ["onEvent", "onState", "onTopic"])
def test_a_handlers_error_is_reported_and_kills_nothing(bench: ClientBench, handler: str) -> None:
    errors: list[str] = []
    bench.page.on("pageerror", lambda error: errors.append(error.message))
    bench.page.evaluate(
        """async (broken) => {
            const { connect } = await import("/js/realtime.js");
            window.changes = [];
            window.calls = 0;
            window.connection = connect({
                onState: (change) => window.changes.push(change),
                [broken]: () => { window.calls += 1; throw new Error("broken page"); },
            });
        }""",
        handler,
    )
    bench.wait_ms(0)
    bench.online(streams={"topic.news": {"topic": "news", "state": "new"}})
    bench.send_text(json.dumps(event(1)))
    bench.send_text(json.dumps(event(2)))
    calls = bench.page.evaluate("calls")
    assert calls == {"onEvent": 2, "onState": 2, "onTopic": 1}[handler]
    assert errors == ["broken page"] * calls
    assert bench.page.evaluate("connection.state") == "online"


def test_the_heartbeat_is_echoed(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.send_text("<3")
    assert bench.sent_ids == ["AUTH", "<3"]


def test_a_silent_server_is_left(bench: ClientBench) -> None:
    bench.connect()
    bench.online(heartbeat=45)
    bench.wait_ms(45_000)
    bench.send_text("<3")
    bench.wait_ms(59_999)
    assert bench.states[-1] == "online"
    bench.wait_ms(1)
    assert bench.changes[-1]["state"] == "offline"
    assert bench.changes[-1]["reason"] == "The server has gone silent."
    assert bench.page.evaluate("sockets[0].closedWith") == 1000


def test_a_server_that_never_speaks_is_left(bench: ClientBench) -> None:
    bench.connect()
    bench.open()
    bench.wait_ms(20_000)
    assert bench.states[-1] == "offline"


def test_a_late_frame_of_a_socket_that_was_left_is_ignored(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.wait_ms(60_000)
    bench.page.evaluate("text => sockets[0].serverSend(text)", json.dumps(event()))
    assert bench.events == []


def test_a_fresh_token_before_it_is_needed(bench: ClientBench) -> None:
    bench.connect(topics=["news"])
    bench.online()
    assert bench.request_auth("expiring") == {"token": "token-2"}
    bench.send("AUTH OK", heartbeat=45, streams={})
    assert bench.states == ["connecting", "online"]


def test_a_refused_token_is_not_sent_again(bench: ClientBench) -> None:
    bench.connect(topics=["news"])
    bench.open()
    assert bench.request_auth()["token"] == "token-1"
    bench.send("AUTH FAILED", code="token_refused", final=False)
    assert bench.request_auth("rejected") == {"token": "token-2", "topics": ["news"]}
    bench.send("AUTH FAILED", code="token_refused", final=True)
    bench.close(4501)
    assert bench.changes[-1]["state"] == "stopped"


def test_a_refresh_outlasts_a_site_that_restarts(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.token_statuses.extend([502, 503])
    bench.send("AUTH REQUEST", reason="expiring")
    bench.run_until("sockets.at(-1).sent.length === 2")
    assert json.loads(bench.sent[-1])["data"] == {"token": "token-4"}
    assert bench.states == ["connecting", "online"]


def test_no_token_at_first_means_a_later_try(bench: ClientBench) -> None:
    bench.token_statuses.append(503)
    bench.connect()
    bench.open()
    bench.send("AUTH REQUEST", reason="connect")
    bench.until("changes.at(-1).state === 'offline'")
    assert bench.changes[-1]["reason"] == "The server cannot sign this page in at the moment."
    bench.wait_ms(750)
    bench.online()
    assert bench.states[-1] == "online"


@pytest.mark.parametrize("refresh", [False, True])
def test_401_means_signed_out_and_is_final(bench: ClientBench, refresh: bool) -> None:
    bench.connect()
    if refresh:
        bench.online()
    else:
        bench.open()
    bench.token_statuses.append(401)
    bench.send("AUTH REQUEST", reason="connect")
    bench.until("changes.at(-1).state === 'signed-out'")
    assert "Sign in" in bench.changes[-1]["reason"]
    assert bench.page.evaluate("sockets[0].closedWith") == 1000
    bench.page.evaluate("window.dispatchEvent(new Event('online'))")
    bench.wait_ms(120_000)
    assert bench.sockets == 1


def test_every_64_events_are_acknowledged(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    for number in range(130):
        bench.send_text(json.dumps(event(number)))
    assert _acks(bench) == [64, 128]
    bench.wait_ms(4999)
    assert _acks(bench) == [64, 128]
    bench.wait_ms(1)
    assert _acks(bench) == [64, 128, 130]
    bench.wait_ms(20_000)
    assert _acks(bench) == [64, 128, 130]
    bench.send_text(json.dumps(event()))
    bench.wait_ms(5000)
    assert _acks(bench) == [64, 128, 130, 131]


def test_large_events_are_acknowledged_before_the_window_is_full(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    for _ in range(4):
        bench.send_text(json.dumps({"id": "app/EVENT", "data": "x" * 60_000}))
    assert _acks(bench) == [3]
    bench.wait_ms(5000)
    assert _acks(bench) == [3, 4]


def test_a_refresh_does_not_restart_the_count(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.send_text(json.dumps(event(1)))
    bench.send("AUTH OK", heartbeat=45, streams={})
    bench.send_text(json.dumps(event(2)))
    bench.wait_ms(5000)
    assert _acks(bench) == [2]


def test_topics_of_the_first_authentication(bench: ClientBench) -> None:
    bench.connect(topics=["news", "secret room"])
    bench.online(
        streams={
            "user.1": {"state": "new"},
            "all": {"state": "new"},
            "topic.news": {"topic": "news", "state": "new"},
            "topic.secret%20room": {"topic": "secret room", "state": "denied"},
        }
    )
    assert bench.topics == [
        {"topic": "news", "state": "subscribed", "reason": ""},
        {"topic": "secret room", "state": "denied", "reason": "You may not follow this."},
    ]
    # What was denied is not asked for again.
    bench.close(1006)
    bench.wait_ms(750)
    bench.open()
    assert bench.request_auth()["topics"] == ["news"]


def test_subscribing_and_unsubscribing_later(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    bench.page.evaluate("connection.subscribe('news'); connection.subscribe('news')")
    assert [json.loads(text)["data"] for text in bench.sent[1:]] == [{"topic": "news", "ref": 1}]
    bench.send("SUBSCRIBED", topic="news", ref=1, stream="topic.news", state="new")
    assert bench.topics == [{"topic": "news", "state": "subscribed", "reason": ""}]

    bench.page.evaluate("connection.unsubscribe('news'); connection.unsubscribe('news')")
    assert bench.sent_ids == ["AUTH", "SUBSCRIBE", "UNSUBSCRIBE"]
    bench.send("UNSUBSCRIBED", topic="news", ref=2)
    bench.close(1006)
    bench.wait_ms(750)
    bench.open()
    assert bench.request_auth()["topics"] == []


def test_a_change_of_mind_during_authentication(bench: ClientBench) -> None:
    bench.connect(topics=["old"])
    bench.open()
    bench.request_auth()
    bench.page.evaluate("connection.subscribe('new'); connection.unsubscribe('old')")
    assert bench.sent_ids == ["AUTH"]
    bench.send("AUTH OK", heartbeat=45, streams={"topic.old": {"topic": "old", "state": "new"}})
    assert [(json.loads(t)["id"], json.loads(t)["data"]["topic"]) for t in bench.sent[1:]] == [
        ("SUBSCRIBE", "new"),
        ("UNSUBSCRIBE", "old"),
    ]


@pytest.mark.parametrize(
    ("frame", "data", "state"),
    [
        ("SUBSCRIBED", {"topic": "news", "ref": 1, "state": "denied"}, "denied"),
        ("ERROR", {"code": "too_many_topics", "ref": 1, "message": "Too many topics."}, "denied"),
        ("UNSUBSCRIBED", {"topic": "news", "reason": "revoked"}, "revoked"),
    ],
)
def test_a_topic_that_is_not_allowed(bench: ClientBench, frame: str, data: dict[str, Any], state: str) -> None:
    bench.connect()
    bench.online()
    bench.page.evaluate("connection.subscribe('news')")
    bench.send(frame, **data)
    assert [(topic["topic"], topic["state"]) for topic in bench.topics] == [("news", state)]
    assert bench.topics[0]["reason"].endswith(".")
    assert bench.states[-1] == "online"


def test_an_error_of_the_server_is_a_line_in_the_console(bench: ClientBench) -> None:
    bench.connect()
    bench.online()
    with bench.page.expect_console_message() as message:
        bench.send("ERROR", code="bad_frame", ref=None, message="what is this")
    assert message.value.text == "realtime: bad_frame: what is this"


def _acks(bench: ClientBench) -> list[int]:
    frames = [json.loads(text) for text in bench.sent]
    return [frame["data"]["n"] for frame in frames if frame["id"] == "ACK"]
