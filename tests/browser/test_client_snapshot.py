"""realtime.js: after a gap the page's state comes anew, and no event is lost or taken back (docs/browser-client.md)."""

from typing import Any

from .bench import ClientBench
from .test_client_resume import at, gap, new, recovered, report


def begin(bench: ClientBench, **streams: Any) -> None:
    """A page with a snapshot handler comes back and finds this."""
    bench.connect(snapshots=True, cursor={name: at(5) for name in streams})
    bench.online(streams=streams)
    bench.wait_ms(0)


def test_live_events_wait_for_the_snapshot(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    assert bench.snapshots == [["user"]]
    bench.event(901, 902, 903)
    assert bench.shown == []
    bench.give("state", {"user": at(902)})
    assert bench.shown == ["state", "user903"], "901 and 902 are in the snapshot"
    bench.event(904)
    assert bench.shown[2:] == ["user904"]
    assert bench.gaps == ["user"]
    assert bench.streams == [report("gap", reason="trimmed")]


def test_a_snapshot_ahead_of_the_socket(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    bench.give("state", {"user": at(903)})
    bench.event(901, 902, 903, 904)
    assert bench.shown == ["state", "user904"]
    assert bench.reconnect()["since"] == {"user": at(904)}


def test_ephemeral_events_do_not_wait(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    bench.event(None)
    assert bench.shown == ["userNone"]


def test_a_snapshot_that_fails_is_asked_for_again(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    for wait_ms in (750, 1250, 2250):
        with bench.page.expect_console_message() as message:
            bench.fail()
        assert message.value.text == "realtime: no snapshot: Error: no network"
        before = len(bench.snapshots)
        bench.wait_ms(wait_ms - 1)
        assert len(bench.snapshots) == before
        bench.wait_ms(1)
        assert len(bench.snapshots) == before + 1
    bench.event(901)
    bench.give("state", {"user": at(900)})
    assert bench.shown == ["state", "user901"]
    # The next trouble starts with a short wait again.
    bench.send("GAP", stream="user", **at(1000), reason="trimmed")
    bench.wait_ms(2000)
    bench.fail()
    bench.wait_ms(750)
    assert len(bench.snapshots) == 6


def test_one_that_never_answers_is_given_up(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    bench.wait_ms(14_999)
    assert not bench.page.evaluate("snapshots[0].aborted")
    bench.wait_ms(1)
    assert bench.page.evaluate("snapshots[0].aborted")
    bench.wait_ms(750)
    assert len(bench.snapshots) == 2
    bench.give("late", {"user": at(900)}, asked=0)
    assert bench.shown == []


def test_one_that_is_none_is_asked_for_again(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    answers = ("undefined", "{ cursor: {} }", "{ apply() {} }", "7")
    for answer, wait_ms in zip(answers, (750, 1250, 2250, 4250), strict=True):
        bench.page.evaluate("answer => { snapshots.at(-1).resolve(eval(`(${answer})`)); }", answer)
        bench.wait_ms(wait_ms)
    assert len(bench.snapshots) == 5
    assert bench.shown == []


def test_one_that_throws_at_the_call(bench: ClientBench) -> None:
    bench.page.evaluate(
        """async () => {
            const { connect } = await import("/js/realtime.js");
            window.calls = 0;
            connect({
                cursor: { user: { epoch: "e", seq: 5 } },
                snapshot: () => { window.calls += 1; throw new Error("broken page"); },
            });
        }"""
    )
    bench.wait_ms(0)
    bench.online(streams={"user": gap(900)})
    bench.wait_ms(0)
    bench.wait_ms(750)
    assert bench.page.evaluate("calls") == 2


def test_a_snapshot_older_than_the_gap_is_not_applied(bench: ClientBench) -> None:
    """A page cache or a replica that lags."""
    begin(bench, user=gap(900))
    bench.give("old", {"user": at(899)})
    bench.wait_ms(750)
    bench.give("other epoch", {"user": at(950, "before")})
    bench.wait_ms(1250)
    assert bench.shown == []
    bench.give("state", {"user": at(900)})
    assert bench.shown == ["state"]


def test_a_numbering_that_only_the_snapshot_knows(bench: ClientBench) -> None:
    """All numberings were ended; the node has told of one stream and does not know of the other one yet."""
    begin(bench, user=gap(3, "epoch", "f"), all=recovered(5, 0))
    for wait_ms in (750, 1250):
        bench.give("new", {"user": at(3, "f"), "all": at(0, "f")})
        bench.wait_ms(wait_ms)
    assert bench.states[-1] == "online"
    bench.give("new", {"user": at(3, "f"), "all": at(0, "f")})
    assert bench.changes[-1]["reason"] == "The page has to be compared with the server."
    bench.wait_ms(bench.changes[-1]["retryInMs"])
    auth = bench.online(streams={"user": {**recovered(3, 0), "epoch": "f"}, "all": gap(0, "epoch", "f")})
    assert auth["since"] == {"user": at(3, "f"), "all": at(5)}
    assert bench.shown == []
    bench.give("new", {"user": at(3, "f"), "all": at(0, "f")})
    bench.event(1, stream="all")
    assert bench.shown == ["new", "all1"]


def test_the_server_back_means_no_long_wait(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    for wait_ms in (750, 1250, 2250, 4250):
        bench.fail()
        bench.wait_ms(wait_ms)
    bench.fail()
    bench.wait_ms(1000)
    assert len(bench.snapshots) == 5
    bench.reconnect(user=recovered(900, 0))
    assert len(bench.snapshots) == 6


def test_several_gaps_are_one_snapshot(bench: ClientBench) -> None:
    begin(bench, user=gap(900), all=gap(10), topic=recovered(5, 0))
    assert bench.snapshots == [["user", "all"]]
    bench.event(901)
    bench.event(11, stream="all")
    bench.event(902)
    bench.give("state", {"user": at(901), "all": at(10)})
    assert bench.shown == ["state", "all11", "user902"]
    bench.wait_ms(60_000)
    assert len(bench.snapshots) == 1


def test_streams_without_a_gap_are_not_taken_back(bench: ClientBench) -> None:
    """The snapshot may show them too, as they were before the events that come meanwhile."""
    begin(bench, user=gap(900), all=recovered(5, 0))
    bench.event(6, 7, stream="all")
    assert bench.shown == []
    bench.give("state", {"user": at(900), "all": at(6)})
    assert bench.shown == ["state", "all7"]
    bench.event(8, stream="all")
    assert bench.shown[2:] == ["all8"]


def test_streams_without_a_gap_do_not_wait_for_a_second_try(bench: ClientBench) -> None:
    begin(bench, user=gap(900), all=recovered(5, 0))
    bench.event(6, stream="all")
    bench.event(901)
    bench.fail()
    assert bench.shown == ["all6"]
    bench.event(7, stream="all")
    assert bench.shown == ["all6", "all7"]
    bench.wait_ms(750)
    bench.give("too old for all", {"user": at(901), "all": at(6)})
    assert bench.shown == ["all6", "all7"]
    bench.wait_ms(1250)
    bench.give("state", {"user": at(900), "all": at(7)})
    assert bench.shown == ["all6", "all7", "state", "user901"]


def test_a_stream_that_the_page_does_not_show_goes_on_from_its_head(bench: ClientBench) -> None:
    begin(bench, user=gap(900), all=gap(10))
    bench.event(11, stream="all")
    bench.give("state", {"user": at(900), "never heard of": at(1)})
    assert bench.shown == ["state", "all11"]
    bench.wait_ms(60_000)
    assert len(bench.snapshots) == 1


def test_a_gap_during_the_snapshot(bench: ClientBench) -> None:
    begin(bench, user=gap(900), all=recovered(5, 0))
    bench.event(901)
    bench.event(6, stream="all")
    bench.send("GAP", stream="user", **at(3, "f"), reason="epoch")
    bench.send("GAP", stream="all", **at(50), reason="trimmed")
    bench.event(4)
    bench.event(51, stream="all")
    bench.give("outdated", {"user": at(901), "all": at(6)})
    assert bench.shown == []
    bench.wait_ms(750)
    assert bench.snapshots == [["user"], ["user", "all"]]
    bench.give("state", {"user": at(3, "f"), "all": at(50)})
    assert bench.shown == ["state", "user4", "all51"]
    assert bench.gaps == ["user", "user", "all"]


def test_a_gap_that_an_answer_under_way_does_not_know(bench: ClientBench) -> None:
    begin(bench, user=gap(900), all=recovered(5, 0))
    bench.send("GAP", stream="all", **at(50), reason="trimmed")
    bench.event(51, stream="all")
    bench.give("of the user", {"user": at(900)})
    assert bench.shown == ["of the user"]
    bench.wait_ms(750)
    assert bench.snapshots[1:] == [["all"]]
    bench.give("of all", {"all": at(50)})
    assert bench.shown == ["of the user", "of all", "all51"]


def test_the_connection_is_lost_during_the_snapshot(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    bench.event(901)
    bench.close(1006)
    bench.wait_ms(750)
    assert bench.online(streams={"user": recovered(903, 2)})["since"] == {"user": at(901)}
    bench.event(902, 903)
    assert bench.shown == []
    bench.give("state", {"user": at(900)})
    assert bench.shown == ["state", "user901", "user902", "user903"]
    assert bench.streams == [report("gap", reason="trimmed")], "a stream that waits is not recovered"


def test_recovered_is_said_after_what_was_held(bench: ClientBench) -> None:
    begin(bench, user=gap(900), all=recovered(7, 2))
    bench.event(6, 7, stream="all")
    assert [change["state"] for change in bench.streams] == ["gap"]
    bench.give("state", {"user": at(900), "all": at(7)})
    assert bench.streams[1:] == [{**report("recovered", 2), "stream": "all"}]


def test_no_more_than_a_thousand_events_are_held(bench: ClientBench) -> None:
    begin(bench, user=gap(1), all=recovered(5, 0))
    bench.event(6, stream="all")
    bench.event(*range(2, 1001))
    assert bench.gaps == ["user"]
    bench.event(1001)
    assert bench.gaps == ["user", "all"], "what is dropped is said"
    assert bench.streams[-1] == {**report("gap", reason="unheld"), "stream": "all"}
    bench.event(1002)
    bench.give("too old", {"user": at(1000), "all": at(6)})
    assert bench.shown == []
    bench.wait_ms(750)
    assert bench.snapshots[-1] == ["user", "all"]
    bench.give("state", {"user": at(1001), "all": at(6)})
    assert bench.shown == ["state", "user1002"]


def test_no_more_than_four_million_characters_are_held(bench: ClientBench) -> None:
    begin(bench, user=gap(0))
    for seq in range(1, 18):
        bench.page.evaluate(
            "seq => sockets.at(-1).serverSend(JSON.stringify("
            "{ id: 'big', stream: 'user', seq, data: 'x'.repeat(256 * 1000) }))",
            seq,
        )
    bench.give("too old", {"user": at(16)})
    assert bench.shown == []
    bench.wait_ms(750)
    bench.give("state", {"user": at(17)})
    assert bench.shown == ["state"]


def test_all_clients_of_a_rotated_stream_do_not_ask_at_once(bench: ClientBench) -> None:
    bench.connect(snapshots=True)
    bench.online(streams={"user": new(900)})
    bench.send("GAP", stream="user", **at(0, "f"), reason="epoch")
    bench.wait_ms(999)
    assert bench.snapshots == []
    bench.wait_ms(1)
    assert bench.snapshots == [["user"]]


def test_a_page_may_ask_for_its_snapshot(bench: ClientBench) -> None:
    begin(bench, user=recovered(5, 0))
    bench.page.evaluate("connection.refresh(); connection.refresh()")
    bench.wait_ms(0)
    assert bench.snapshots == [[]]
    bench.event(6, 7)
    assert bench.shown == []
    bench.fail()
    assert bench.shown == ["user6", "user7"]
    bench.wait_ms(750)
    bench.event(8)
    bench.give("state", {"user": at(7)})
    assert bench.shown == ["user6", "user7", "state", "user8"]
    assert bench.gaps == []
    bench.wait_ms(60_000)
    assert len(bench.snapshots) == 2


def test_a_page_without_snapshots_asks_in_vain(bench: ClientBench) -> None:
    bench.connect(cursor={"user": at(5)})
    bench.online(streams={"user": recovered(5, 0)})
    bench.page.evaluate("connection.refresh()")
    bench.wait_ms(0)
    bench.event(6)
    assert bench.shown == ["user6"]


def test_a_topic_that_is_left_during_its_snapshot(bench: ClientBench) -> None:
    bench.connect(snapshots=True, topics=["a"], cursor={"topic.a": at(5)})
    bench.online(streams={"topic.a": {**gap(900), "topic": "a"}})
    bench.wait_ms(0)
    bench.event(901, stream="topic.a")
    bench.page.evaluate("connection.unsubscribe('a')")
    bench.give("state", {})
    assert bench.shown == ["state"]
    bench.wait_ms(60_000)
    assert len(bench.snapshots) == 1


def test_a_topic_is_named_in_the_request(bench: ClientBench) -> None:
    bench.connect(snapshots=True, topics=["a b"], cursor={"topic.a%20b": at(5)})
    bench.online(streams={"topic.a%20b": {**gap(900), "topic": "a b"}})
    bench.wait_ms(0)
    assert bench.page.evaluate("snapshots[0].streams") == [{"stream": "topic.a%20b", "topic": "a b"}]


def test_the_end_of_the_connection_ends_the_snapshot(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    bench.event(901)
    bench.page.evaluate("connection.close()")
    assert bench.page.evaluate("snapshots[0].aborted")
    bench.give("state", {"user": at(900)})
    bench.wait_ms(60_000)
    assert (bench.shown, len(bench.snapshots)) == ([], 1)


def test_a_broken_apply_is_reported_and_ends_nothing(bench: ClientBench) -> None:
    begin(bench, user=gap(900))
    bench.event(901)
    with bench.page.expect_event("pageerror") as error:
        bench.page.evaluate(
            "snapshots[0].resolve("
            "{ cursor: { user: { epoch: 'e', seq: 900 } }, apply() { throw new Error('broken'); } })"
        )
    assert error.value.message == "broken"
    assert bench.shown == ["user901"]
