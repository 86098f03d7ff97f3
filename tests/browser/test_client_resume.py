"""realtime.js: each durable event is applied once and in order, over any number of sockets (docs/browser-client.md)."""

import json
from typing import Any

import pytest

from .bench import EMPTY_PAGE, ClientBench

PAGE_CURSOR = '<script type="application/json" id="realtime-cursor">{}</script>'


def at(seq: int, epoch: str = "e") -> dict[str, Any]:
    return {"epoch": epoch, "seq": seq}


def new(seq: int, **more: Any) -> dict[str, Any]:
    return {**at(seq), "state": "new", "replay": 0, **more}


def recovered(seq: int, replay: int, **more: Any) -> dict[str, Any]:
    return {**at(seq), "state": "recovered", "replay": replay, **more}


def gap(seq: int, reason: str = "trimmed", epoch: str = "e") -> dict[str, Any]:
    return {**at(seq, epoch), "state": "gap", "replay": 0, "reason": reason}


def report(state: str, replay: int = 0, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"stream": "user", "state": state, "replay": replay, "reason": reason, **more}


# --- applying ---


def test_durable_events_are_applied_in_order_and_once(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(7), "all": new(0)})
    bench.event(8, 8, 7, 3)
    bench.event(1, stream="all")
    bench.event(9, 8)
    assert bench.shown == ["user8", "all1", "user9"]


def test_ephemeral_events_have_no_place(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(7)})
    bench.event(None, 8, None)
    bench.event(None, stream="unheard of")
    assert bench.shown == ["userNone", "user8", "userNone", "unheard ofNone"]


def test_all_that_arrives_counts_as_received(bench: ClientBench) -> None:
    bench.connect(snapshots=True)
    bench.online(streams={"user": new(7)})
    bench.event(8, 8, None)
    bench.send("GAP", stream="user", **at(20), reason="trimmed")
    bench.event(21)
    bench.wait_ms(5000)
    assert bench.sent[-1] == '{"id":"ACK","data":{"n":4}}'


@pytest.mark.parametrize(("stream", "seq"), [("user", 9), ("unknown", 1), ("user", "8"), ("user", 8.5)])
def test_an_event_that_cannot_follow_is_a_defect_of_the_server(bench: ClientBench, stream: str, seq: Any) -> None:
    bench.connect()
    bench.online(streams={"user": new(7)})
    with bench.page.expect_event("pageerror") as error:
        bench.event(seq, stream=stream)
    assert "out of order" in error.value.message
    assert bench.shown == []
    assert bench.states[-1] == "offline"
    bench.wait_ms(30_000)
    bench.open()
    assert bench.request_auth()["since"] == {"user": at(7)}


# --- resuming ---


def test_the_cursor_goes_out_with_each_authentication(bench: ClientBench) -> None:
    bench.connect()
    assert "since" not in bench.online(streams={"user": new(7), "all": new(0)})
    bench.event(8, 9)
    assert bench.reconnect(user=recovered(9, 0), all=recovered(0, 0))["since"] == {"user": at(9), "all": at(0)}
    assert bench.reconnect()["since"] == {"user": at(9), "all": at(0)}
    assert "since" not in bench.request_auth("expiring"), "a renewal changes no stream"


def test_recovered_is_said_when_what_was_missed_has_been_applied(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(7)})
    bench.reconnect(user=recovered(10, 3))
    bench.event(8, 9)
    assert bench.streams == [report("new")]
    bench.event(10, 11)
    assert bench.streams == [report("new"), report("recovered", 3)]
    assert bench.shown == ["user8", "user9", "user10", "user11"]


def test_a_replay_in_two_parts_is_one(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(7)})
    bench.reconnect(user=recovered(10, 3))
    bench.event(8)
    assert bench.reconnect(user=recovered(12, 4))["since"] == {"user": at(8)}
    bench.event(9, 10, 11, 12)
    assert bench.streams[1:] == [report("recovered", 5)]
    assert bench.reconnect(user=recovered(12, 0)) is not None
    assert bench.streams[2:] == [report("recovered", 0)]


def test_topics_are_named(bench: ClientBench) -> None:
    bench.connect(topics=["a b"])
    bench.online(streams={"topic.a%20b": new(7, topic="a b")})
    assert bench.streams == [{**report("new"), "stream": "topic.a%20b", "topic": "a b"}]


def test_without_durable_events_there_is_no_cursor(bench: ClientBench) -> None:
    """A node of the version before."""
    bench.connect()
    bench.online(streams={"user": {"epoch": None, "seq": 0, "state": "new", "replay": 0}})
    assert "since" not in bench.reconnect()


def test_denied_streams_lose_their_cursor(bench: ClientBench) -> None:
    bench.connect(topics=["a", "b"], cursor={"topic.a": at(1), "topic.b": at(1)})
    auth = bench.online(
        streams={
            "topic.a": {**at(0), "state": "denied", "replay": 0, "topic": "a"},
            "topic.b": recovered(1, 0, topic="b"),
        }
    )
    assert auth["since"] == {"topic.a": at(1), "topic.b": at(1)}
    assert [(change["topic"], change["state"]) for change in bench.streams] == [("a", "denied"), ("b", "recovered")]
    assert [(change["topic"], change["state"]) for change in bench.topics] == [("a", "denied"), ("b", "subscribed")]
    assert bench.reconnect()["since"] == {"topic.b": at(1)}


def test_a_revoked_topic_loses_its_cursor(bench: ClientBench) -> None:
    bench.connect(topics=["a"])
    bench.online(streams={"user": new(7), "topic.a": new(3, topic="a")})
    bench.send("UNSUBSCRIBED", topic="a", reason="revoked")
    assert bench.reconnect()["since"] == {"user": at(7)}


# --- the page's cursor ---


def test_the_pages_cursor_is_where_the_client_begins(bench: ClientBench) -> None:
    bench.html = EMPTY_PAGE + PAGE_CURSOR.format('{"user": {"epoch": "e", "seq": 5}, "all": {"epoch": "e", "seq": 0}}')
    bench.load()
    bench.connect()
    auth = bench.online(streams={"user": recovered(6, 1), "all": recovered(0, 0)})
    assert auth["since"] == {"user": at(5), "all": at(0)}
    bench.event(5, 6)
    assert bench.shown == ["user6"]


def test_a_given_cursor_stands_above_the_pages(bench: ClientBench) -> None:
    bench.html = EMPTY_PAGE + PAGE_CURSOR.format('{"user": {"epoch": "e", "seq": 5}}')
    bench.load()
    bench.connect(cursor={"all": at(2)})
    assert bench.online()["since"] == {"all": at(2)}


def test_a_broken_cursor_in_the_page_is_none(bench: ClientBench) -> None:
    bench.html = EMPTY_PAGE + PAGE_CURSOR.format("{oops")
    bench.load()
    with bench.page.expect_event("pageerror"):
        bench.connect()
    assert "since" not in bench.online()


def test_what_is_no_position_is_left_out(bench: ClientBench) -> None:
    wrong = [None, 7, "e", {}, {"epoch": "e"}, {"epoch": 1, "seq": 1}, at(-1), {"epoch": "e", "seq": "1"}, at(2**60)]
    bench.connect(cursor={**{f"stream {number}": position for number, position in enumerate(wrong)}, "all": at(1)})
    assert bench.online()["since"] == {"all": at(1)}


# --- topics ---


def test_more_topics_than_one_frame_holds(bench: ClientBench) -> None:
    topics = [f"ä {number} " + "x" * 90 for number in range(100)]
    streams = [f"topic.%C3%A4%20{number}%20" + "x" * 90 for number in range(100)]
    bench.connect(topics=topics, cursor={"user": at(1), **{stream: at(5) for stream in streams}})
    auth = bench.online(streams={"user": recovered(1, 0)})
    assert 8_000 < len(bench.sent[0].encode()) < 16_384
    asked = auth["topics"]
    assert auth["since"].keys() == {"user", *streams[: len(asked)]}
    later = [json.loads(text)["data"] for text in bench.sent[1:]]
    assert [data["topic"] for data in later] == topics[len(asked) :]
    assert all(data["since"] == at(5) for data in later)


def test_a_cursor_without_its_topic_waits(bench: ClientBench) -> None:
    bench.connect(topics=["a"], cursor={"topic.a": at(5), "topic.b": at(5), "topic.~digest": at(5)})
    assert bench.online()["since"].keys() == {"topic.a", "topic.~digest"}
    bench.page.evaluate("connection.subscribe('b')")
    assert _last(bench)[1]["since"] == at(5)


@pytest.mark.parametrize(
    ("topic", "stream"),
    [
        ("order-17", "topic.order-17"),
        ("a.b~c*d!e'f(g)h", "topic.a%2Eb%7Ec%2Ad%21e%27f%28g%29h"),
        ("ä/ 😀_", "topic.%C3%A4%2F%20%F0%9F%98%80_"),
    ],
)
def test_a_later_topic_starts_at_its_cursor(bench: ClientBench, topic: str, stream: str) -> None:
    bench.connect(cursor={stream: at(5)})
    bench.online()
    bench.page.evaluate("topic => connection.subscribe(topic)", topic)
    assert _last(bench) == ("SUBSCRIBE", {"topic": topic, "ref": 1, "since": at(5)})
    bench.send("SUBSCRIBED", stream=stream, ref=1, **recovered(6, 1, topic=topic))
    bench.event(6, stream=stream)
    assert bench.streams == [{**report("recovered", 1), "stream": stream, "topic": topic}]


def test_a_cursor_that_came_with_the_topics_state(bench: ClientBench) -> None:
    bench.connect(cursor={"user": at(5)})
    bench.online(streams={"user": recovered(5, 0)})
    bench.page.evaluate("cursor => connection.subscribe('a', cursor)", {"topic.a": at(3), "user": at(9)})
    assert _last(bench) == ("SUBSCRIBE", {"topic": "a", "ref": 1, "since": at(3)})
    assert bench.reconnect()["since"] == {"topic.a": at(3), "user": at(5)}, "of the others, the client knows better"


def test_an_unsent_cursor_proves_nothing(bench: ClientBench) -> None:
    """The stream of a very long name has a digest in its place, which the client does not know beforehand."""
    bench.connect(cursor={"topic.~digest": at(5), "topic.~other": at(6)})
    bench.online()
    for ref, name in enumerate(("digest", "other"), start=1):
        bench.page.evaluate("name => connection.subscribe(name.repeat(100))", name)
        assert "since" not in _last(bench)[1]
        bench.send("SUBSCRIBED", stream=f"topic.~{name}", ref=ref, **new(6, topic=name * 100))
    assert [(change["state"], change["reason"]) for change in bench.streams] == [("gap", "unproven"), ("recovered", "")]


def test_an_unsubscribed_topic_is_left_at_once(bench: ClientBench) -> None:
    bench.connect(topics=["a"])
    bench.online(streams={"topic.a": new(3, topic="a")})
    bench.event(4, stream="topic.a")
    bench.page.evaluate("connection.unsubscribe('a')")
    # What was under way.
    bench.event(5, 6, stream="topic.a")
    bench.send("GAP", stream="topic.a", **at(9), reason="trimmed")
    assert bench.shown == ["topic.a4"]
    assert bench.gaps == []
    bench.page.evaluate("connection.subscribe('a')")
    bench.event(7, stream="topic.a")
    bench.send("UNSUBSCRIBED", topic="a", ref=1)
    assert _last(bench) == ("SUBSCRIBE", {"topic": "a", "ref": 2})
    bench.send("SUBSCRIBED", stream="topic.a", ref=2, **new(9, topic="a"))
    bench.send("UNSUBSCRIBED", topic="a", ref=1)
    bench.event(10, stream="topic.a")
    assert bench.shown == ["topic.a4", "topic.a10"]


def test_a_topic_that_was_left_is_not_resumed(bench: ClientBench) -> None:
    bench.connect(topics=["a"])
    bench.online(streams={"topic.a": new(3, topic="a"), "user": new(1)})
    bench.page.evaluate("connection.unsubscribe('a')")
    assert bench.reconnect()["since"] == {"user": at(1)}


def test_a_topic_left_while_it_was_authenticated(bench: ClientBench) -> None:
    bench.connect(topics=["a"], cursor={"topic.a": at(3)})
    bench.open()
    bench.request_auth()
    bench.page.evaluate("connection.unsubscribe('a')")
    bench.send("AUTH OK", heartbeat=45, streams={"topic.a": recovered(5, 2, topic="a")})
    assert _last(bench)[0] == "UNSUBSCRIBE"
    bench.event(4, 5, 6, stream="topic.a")
    assert (bench.shown, bench.states[-1]) == ([], "online")


# --- gaps without a snapshot ---


def test_without_a_snapshot_the_stream_goes_on_from_its_head(bench: ClientBench) -> None:
    bench.connect(cursor={"user": at(5), "all": at(1)})
    bench.online(streams={"user": gap(900, "too_many"), "all": recovered(1, 0)})
    bench.event(900, 901)
    assert bench.shown == ["user901"]
    assert bench.gaps == ["user"]
    assert bench.streams[0] == report("gap", reason="too_many")
    assert bench.reconnect()["since"] == {"user": at(901), "all": at(1)}


def test_a_gap_on_the_open_socket(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(900)})
    bench.send("GAP", stream="user", **at(3, "f"), reason="epoch")
    bench.event(3, 4)
    assert bench.shown == ["user4"]
    assert bench.streams == [report("new"), report("gap", reason="epoch")]
    assert bench.reconnect()["since"] == {"user": at(4, "f")}


def test_a_gap_of_a_stream_that_is_not_heard_is_nothing(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(1)})
    bench.send("GAP", stream="other", **at(3), reason="epoch")
    bench.send("GAP", stream="user", epoch=None, seq="x", reason="epoch")
    assert bench.gaps == []


# --- independence ---


def test_tabs_are_independent(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(7)})
    bench.event(8)
    second = bench.page.context.new_page()
    second.close()
    assert bench.page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    bench.connect()
    assert "since" not in bench.online()


def test_nothing_is_applied_after_the_end(bench: ClientBench) -> None:
    bench.connect()
    bench.online(streams={"user": new(7)})
    bench.page.evaluate("connection.close()")
    bench.event(8)
    assert bench.shown == []


def test_a_handler_that_closes_the_connection_gets_nothing_more(bench: ClientBench) -> None:
    bench.page.evaluate(
        """async () => {
            const { connect } = await import("/js/realtime.js");
            window.calls = [];
            window.connection = connect({
                onStream: ({ stream }) => { window.calls.push(stream); window.connection.close(); },
                onEvent: ({ data }) => window.calls.push(data),
            });
        }"""
    )
    bench.wait_ms(0)
    bench.online(streams={"user": new(7), "all": new(7)})
    assert bench.page.evaluate("calls") == ["user"]


def test_a_sleeping_machine_finds_its_dead_socket_by_itself(bench: ClientBench) -> None:
    bench.connect(cursor={"user": at(5)})
    bench.online(streams={"user": recovered(5, 0)})
    # The wall clock goes on while the timers stand still.
    bench.page.evaluate("Date.now = () => 3_600_000")
    bench.wait_ms(5000)
    assert "offline" in bench.states
    bench.wait_ms(750)
    assert bench.online()["since"] == {"user": at(5)}


def _last(bench: ClientBench) -> tuple[str, dict[str, Any]]:
    frame = bench.page.evaluate("JSON.parse(sockets.at(-1).sent.at(-1))")
    return frame["id"], frame["data"]
