"""From `notify` to the browser as one state machine (docs/architecture.md; docs/protocol.md, "Resume")."""

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from apps.realtime import history
from apps.realtime.core import window
from apps.realtime.core.cache import OVERHEAD_BYTES, EventCache
from apps.realtime.core.names import Stream
from apps.realtime.node import hub, node
from apps.realtime.topics import TopicRegistry

from .conftest import MakeToken, MakeUser
from .pipeline import RECIPIENTS, OneThread, Site, Wire

_streams = st.sampled_from(sorted(RECIPIENTS))
_browsers = st.integers(0, 1)
# What the wire does.
_ways = st.sampled_from(["in order", "in order", "backwards", "loses the first", "loses the last"])


class Pipeline(RuleBasedStateMachine):
    """An adversary who may do anything but change what was committed."""

    make_site: ClassVar[Any]

    @initialize()
    def begin(self) -> None:
        self.site: Site = type(self).make_site()

    # What should happen --------------------------------------------------------------------------

    @rule(stream=_streams, count=st.integers(1, 4), commits=st.integers(0, 4).map(bool))
    def somebody_notifies(self, stream: Stream, count: int, commits: bool) -> None:
        self.site.notify(stream, count, commits=commits)

    @rule(dies_at=st.none() | st.none() | st.integers(1, 8))
    def process_numbers(self, dies_at: int | None) -> None:
        self.site.number(dies_at)

    @precondition(lambda self: self.site.to_publish)
    @rule(count=st.integers(1, 10))
    def process_publishes(self, count: int) -> None:
        self.site.publish(count)

    @precondition(lambda self: self.site.to_mark)
    @rule(count=st.integers(1, 10))
    def process_marks(self, count: int) -> None:
        self.site.mark(count)

    @rule(leases_run_out=st.booleans())
    def relay_works(self, leases_run_out: bool) -> None:
        self.site.relay(leases_run_out=leases_run_out)

    @rule(stream=_streams, count=st.integers(1, 20), secs=st.sampled_from([0.0, 0.02, 1.0]), way=_ways)
    def all_goes_well(self, stream: Stream, count: int, secs: float, way: str) -> None:
        """From end to end, but for what the wire does with it and with what it holds already."""
        self.site.notify(stream, count)
        self.site.number()
        self.site.publish(1_000)
        self.site.mark(1_000)
        if way == "loses the first" and self.site.wire.events:
            self.site.lose(0)
        if way == "loses the last" and self.site.wire.events:
            self.site.lose(-1)
        while self.site.wire.events:
            self.site.hand_over(-1 if way == "backwards" else 0)
        self.site.pass_time(secs)

    @precondition(lambda self: self.site.wire.events)
    @rule(data=st.data(), count=st.integers(1, 5))
    def wire_delivers_in_any_order(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.site.wire.events))):
            index = data.draw(st.integers(0, len(self.site.wire.events) - 1), "which")
            self.site.hand_over(index, again=data.draw(st.integers(0, 3), "stays") == 0)

    @rule(secs=st.sampled_from([0.01, 0.06, 0.06, 0.3, 2.5, 10.0, 35.0]))
    def time_passes(self, secs: float) -> None:
        self.site.pass_time(secs)

    @rule(
        browser=_browsers,
        stream=_streams,
        after_secs=st.floats(0, 1),
        latency_secs=st.sampled_from([0.004, 0.2]),
        way=_ways,
    )
    def browser_comes_back_while_events_do(
        self, browser: int, stream: Stream, after_secs: float, latency_secs: float, way: str
    ) -> None:
        """At any moment from its token to the last page of its replay."""
        self.site.database.latency_secs = latency_secs
        self.site.browsers[browser].cut(0)
        self.site.pass_time(after_secs)
        self.all_goes_well(stream, 2, 1.0, way)

    @rule(stream=_streams, count=st.integers(1, 5))
    def somebody_pushes(self, stream: Stream, count: int) -> None:
        for _ in range(count):
            self.site.push(stream)

    # What goes wrong -----------------------------------------------------------------------------

    @rule()
    def process_dies(self) -> None:
        self.site.die()

    @precondition(lambda self: self.site.wire.events)
    @rule(data=st.data())
    def wire_loses(self, data: st.DataObject) -> None:
        self.site.lose(data.draw(st.integers(0, len(self.site.wire.events) - 1), "which"))

    @rule()
    def link_breaks_or_comes_back(self) -> None:
        if self.site.wire.problem is None:
            self.site.wire.cut()
        else:
            self.site.mend()

    @rule(latency_secs=st.sampled_from([0.004, 0.004, 0.2]), goes_away=st.integers(0, 3).map(lambda dice: dice == 0))
    def database_changes(self, latency_secs: float, goes_away: bool) -> None:
        self.site.database.latency_secs = latency_secs
        self.site.database.away = goes_away

    @rule()
    def node_is_killed(self) -> None:
        self.site.restart_node()

    @rule(browser=_browsers, away_secs=st.sampled_from([0.0, 0.0, 0.3, 40.0]))
    def network_breaks(self, browser: int, away_secs: float) -> None:
        self.site.browsers[browser].cut(away_secs)

    @rule(browser=_browsers)
    def browser_stops_or_goes_on_acknowledging(self, browser: int) -> None:
        one = self.site.browsers[browser]
        one.acknowledges = not one.acknowledges
        one.acknowledge()

    @rule(browser=_browsers)
    def browser_stops_or_goes_on_reading(self, browser: int) -> None:
        reads = self.site.browsers[browser].reads
        if reads.is_set():
            reads.clear()
        else:
            reads.set()

    # The end -------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        try:
            self.site.settle()
            self.site.check()
        finally:
            self.site.close()


class TrimmedPipeline(Pipeline):
    """An adversary who prunes and rotates, too."""

    @rule(keep=st.integers(0, 6))
    def relay_prunes(self, keep: int) -> None:
        self.site.prune(keep)

    @rule(stream=st.none() | _streams)
    def operator_rotates(self, stream: Stream | None) -> None:
        self.site.rotate(stream)


@pytest.fixture
def site(
    transactional_db: None,
    make_user: MakeUser,
    make_token: MakeToken,
    topics: TopicRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Makes sites of which everything is small: windows, caches and pages."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr(window, "WINDOW_EVENTS", 8)
    monkeypatch.setattr(hub, "EventCache", lambda: EventCache(4 * (OVERHEAD_BYTES + 2 * 200)))
    monkeypatch.setattr(history.pages, "__defaults__", (3,))
    token = make_token(make_user())

    def patch_node(wire: Wire, database: OneThread) -> None:
        monkeypatch.setattr(node, "make_listener", lambda *_: wire)
        monkeypatch.setattr(node, "DatabaseThreads", lambda: database)

    return lambda: Site(token, patch_node)


@pytest.mark.parametrize("machine", [Pipeline, TrimmedPipeline])
def test_what_was_committed_is_applied_once_and_in_order(machine: type[Pipeline], site: Any) -> None:
    machine.make_site = staticmethod(site)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
