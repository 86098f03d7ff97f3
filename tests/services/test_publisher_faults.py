"""The publisher through its broker's faults: no caller ever waits, what is lost is counted (docs/publishing.md)."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pika
import pytest
from prometheus_client import REGISTRY

from apps.realtime.brokers.rabbitmq import publisher as publisher_module
from apps.realtime.brokers.rabbitmq.hosts import Hosts
from apps.realtime.brokers.rabbitmq.listener import RabbitListener
from apps.realtime.brokers.rabbitmq.publisher import RabbitPublisher
from apps.realtime.core.events import EventTemplate, numbered
from apps.realtime.core.names import ALL
from ops.services import RabbitMQ
from tests.services.rigs.proxy import TcpProxy
from tests.services.test_listener_faults import until
from tests.signing import SIGNER

HEARTBEAT_SECS = 2


class Rig:
    """A publisher, and a listener that writes down what arrived."""

    def __init__(self, url: str, listener_url: str) -> None:
        self.publisher = RabbitPublisher([url], heartbeat_secs=HEARTBEAT_SECS, signer=SIGNER)
        self.listener = RabbitListener([listener_url], heartbeat_secs=10, per_user_queues=True, signer=SIGNER)
        self.heard: list[int] = []
        self.settled: list[tuple[int, bool]] = []
        self.sent = 0

    def push(self, count: int = 1) -> float:
        """Publish that many events; returns the longest time in seconds that one call took."""
        longest = 0.0
        for _ in range(count):
            event = EventTemplate("p/PING", self.sent, json.JSONEncoder).for_stream(ALL, mid=str(self.sent), ts=1.0)
            before = time.perf_counter()
            self.publisher.publish(event)
            longest = max(longest, time.perf_counter() - before)
            self.sent += 1
        return longest

    def send(self, count: int = 1) -> None:
        """Publish that many durable events; their number in the stream is `sent` and counts on."""
        for _ in range(count):
            event = EventTemplate("p/PING", self.sent, json.JSONEncoder).for_stream(ALL, mid=str(self.sent), ts=1.0)
            durable = numbered(ALL, event.id, event.frame, event.mid, "epoch", self.sent + 1)
            self.publisher.publish(durable, lambda event, confirmed: self.settled.append((event.seq - 1, confirmed)))
            self.sent += 1

    @property
    def first_copies(self) -> list[int]:
        """What was heard, as one sees it who ignores the second copy of anything."""
        return list(dict.fromkeys(self.heard))

    async def arrived(self, number: int, deadline_secs: float = 30.0) -> None:
        await until(lambda: number in self.heard, f"event {number} arrives", deadline_secs)


@pytest.fixture
async def rig(broker: RabbitMQ, vhost: str, proxy: Callable[[int], TcpProxy]) -> AsyncIterator[Rig]:
    url = broker.url(vhost)
    rig = Rig(url, url)
    rig.listener.start(lambda event: rig.heard.append(json.loads(event.frame)["data"]))
    await until(lambda: rig.listener.problem is None, "the listener is connected")
    yield rig
    await asyncio.to_thread(rig.publisher.close, 1.0)
    await rig.listener.close()


@pytest.fixture
async def proxied(
    broker: RabbitMQ, vhost: str, proxy: Callable[[int], TcpProxy]
) -> AsyncIterator[tuple[Rig, TcpProxy]]:
    """The publisher behind a proxy, the listener on the direct way."""
    tcp = proxy(broker.port)
    url = broker.url(vhost)
    rig = Rig(url.replace(f":{broker.port}/", f":{tcp.port}/"), url)
    rig.listener.start(lambda event: rig.heard.append(json.loads(event.frame)["data"]))
    await until(lambda: rig.listener.problem is None, "the listener is connected")
    yield rig, tcp
    await asyncio.to_thread(tcp.restore)
    await asyncio.to_thread(rig.publisher.close, 1.0)
    await rig.listener.close()


@pytest.fixture
def alarm(broker: RabbitMQ) -> Iterator[Callable[[bool], Any]]:
    """Switch the broker's memory alarm on and off."""

    def switch(on: bool) -> None:
        broker.set_memory_watermark(0.00001 if on else 0.6)

    yield switch
    switch(False)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_what_waits_for_a_broker_that_is_away_is_sent_when_it_is_back(rig: Rig, broker: RabbitMQ) -> None:
    rig.push()
    await rig.arrived(0)
    await asyncio.to_thread(broker.stop)
    await until(lambda: rig.publisher.problem, "the loss is noticed")
    rig.push(500)
    await asyncio.to_thread(broker.start)
    await asyncio.to_thread(broker.wait_ready)
    # The listener may bind after the first of them; the last one needs both.
    await until(lambda: rig.listener.problem is None and rig.publisher.problem is None, "both are back")
    last = rig.sent
    rig.push()
    await rig.arrived(last)
    assert await asyncio.to_thread(rig.publisher.flush, 5.0)


async def test_an_alarm_blocks_no_caller_and_drains_by_itself(rig: Rig, alarm: Callable[[bool], None]) -> None:
    rig.push()
    await rig.arrived(0)
    await asyncio.to_thread(alarm, True)
    rig.push()  # RabbitMQ says that it blocks when something is published
    await until(lambda: "alarm" in str(rig.publisher.problem), "the alarm is reported", 5)
    rig.push(1_000)
    assert not await asyncio.to_thread(rig.publisher.flush, 0.1)
    await asyncio.to_thread(alarm, False)
    await rig.arrived(rig.sent - 1)
    assert rig.heard == list(range(rig.sent))
    assert rig.publisher.problem is None


async def test_a_buffer_that_is_full_drops_the_oldest_and_counts_them(rig: Rig, alarm: Callable[[bool], None]) -> None:
    rig.push()
    await rig.arrived(0)
    await asyncio.to_thread(alarm, True)
    rig.push()
    await until(lambda: "alarm" in str(rig.publisher.problem), "the alarm is reported", 5)
    before = counted("realtime_events_publish_dropped_total", reason="buffer_full")
    rig.push(10_500)
    assert counted("realtime_events_publish_dropped_total", reason="buffer_full") - before == 500
    await asyncio.to_thread(alarm, False)
    await rig.arrived(rig.sent - 1)
    assert rig.heard == [0, 1, *range(502, rig.sent)]


async def test_a_silent_broker_costs_no_caller_anything_and_is_left(
    proxied: tuple[Rig, TcpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "CONFIRM_TIMEOUT_SECS", 2.0)
    rig, tcp = proxied
    rig.push()
    await rig.arrived(0)
    await asyncio.to_thread(tcp.black_hole)
    unknown = counted("realtime_events_published_total", outcome="unknown")
    rig.push(100)
    await until(lambda: rig.publisher.problem, "the silence is noticed", 10)
    accepted = tcp.accepted
    await until(lambda: tcp.accepted > accepted, "another connection is tried", 10)
    await asyncio.to_thread(tcp.restore)
    last = rig.sent
    rig.push()
    await rig.arrived(last)
    # Ephemeral: what was on the wire is not sent twice, and it is counted.
    assert len(rig.heard) == len(set(rig.heard))
    assert counted("realtime_events_published_total", outcome="unknown") > unknown


# Durable events ----------------------------------------------------------------------------------


async def test_durable_events_wait_out_an_outage_and_all_arrive_in_order(rig: Rig, broker: RabbitMQ) -> None:
    rig.send(100)
    await rig.arrived(99)
    rig.send(2_000)
    await asyncio.to_thread(broker.kill9)  # with many of them on the wire
    await until(lambda: rig.publisher.problem, "the loss is noticed")
    rig.send(500)
    await asyncio.to_thread(broker.start)
    await asyncio.to_thread(broker.wait_ready)
    await until(lambda: len(rig.settled) == rig.sent, "all are settled")
    assert sorted(rig.settled) == [(number, True) for number in range(rig.sent)]
    # The listener may bind after some of them: the database has those for it. What it hears comes in order.
    rig.send()
    await until(lambda: rig.listener.problem is None, "the listener is back")
    last = rig.sent
    rig.send()
    await rig.arrived(last)
    assert rig.first_copies == sorted(set(rig.heard))


async def test_what_a_silent_connection_has_swallowed_is_sent_again_before_newer_ones(
    proxied: tuple[Rig, TcpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "CONFIRM_TIMEOUT_SECS", 2.0)
    rig, tcp = proxied
    rig.send(10)
    await rig.arrived(9)
    await asyncio.to_thread(tcp.black_hole)
    rig.send(100)
    rig.push()  # ephemeral, on the wire with them: not sent again
    await until(lambda: rig.publisher.problem, "the silence is noticed", 10)
    rig.send(100)
    assert not [number for number, confirmed in rig.settled if not confirmed]
    await asyncio.to_thread(tcp.restore)
    await rig.arrived(rig.sent - 1)
    # The ephemeral one may have arrived or not, but not twice.
    assert [number for number in rig.first_copies if number != 110] == [n for n in range(rig.sent) if n != 110]
    assert rig.heard.count(110) <= 1
    await until(lambda: len(rig.settled) == 210, "all are settled")
    assert all(confirmed for _, confirmed in rig.settled)


async def test_durable_events_that_a_full_buffer_drops_are_told_and_are_no_loss(
    rig: Rig, alarm: Callable[[bool], None]
) -> None:
    rig.push()
    await rig.arrived(0)
    await asyncio.to_thread(alarm, True)
    rig.push()
    await until(lambda: "alarm" in str(rig.publisher.problem), "the alarm is reported", 5)
    before = counted("realtime_events_publish_dropped_total", reason="buffer_full")
    rig.send(10_500)
    assert rig.settled == [(number, False) for number in range(2, 502)]
    assert counted("realtime_events_publish_dropped_total", reason="buffer_full") == before
    await asyncio.to_thread(alarm, False)
    await rig.arrived(rig.sent - 1)
    await until(lambda: len(rig.settled) == 10_500, "all are settled")
    assert rig.settled[500:] == [(number, True) for number in range(502, rig.sent)]


async def test_durable_events_that_are_left_at_the_exit_are_told(
    proxied: tuple[Rig, TcpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, tcp = proxied
    rig.send()
    await until(lambda: rig.settled, "the first is confirmed")
    await asyncio.to_thread(tcp.black_hole)
    rig.send(5)
    await asyncio.to_thread(rig.publisher.close, 0.1)
    assert sorted(rig.settled) == [(0, True), *((number, False) for number in range(1, 6))]
    rig.send()  # nothing leaves any more
    assert rig.settled[-1] == (6, False)


async def test_an_idle_publisher_keeps_its_heartbeats(rig: Rig, broker: RabbitMQ, vhost: str) -> None:
    """pika sends heartbeats only while its loop runs: after three of them unsent the broker would have hung up."""
    rig.push()
    await rig.arrived(0)
    lost = counted("realtime_broker_links_lost_total", role="publisher")
    idle_since = time.monotonic()
    await until(lambda: time.monotonic() - idle_since > 4 * HEARTBEAT_SECS, "four heartbeats pass")
    assert counted("realtime_broker_links_lost_total", role="publisher") == lost
    heard = counted("realtime_broker_links_lost_total", role="listener")
    await asyncio.to_thread(broker.close_connections, vhost)
    await until(lambda: counted("realtime_broker_links_lost_total", role="publisher") > lost, "the loss is noticed")
    await until(lambda: counted("realtime_broker_links_lost_total", role="listener") > heard, "the listener notices")
    await until(lambda: rig.listener.problem is None, "the listener is back")
    last = rig.sent
    rig.push()
    await rig.arrived(last)


async def test_a_user_that_may_only_write_publishes_to_an_exchange_that_exists(
    rig: Rig, broker: RabbitMQ, vhost: str
) -> None:
    await asyncio.to_thread(broker.add_user, "writer", "secret-of-the-writer")
    try:
        await asyncio.to_thread(broker.set_permissions, vhost, "writer", "^$", "^realtime\\.events$", "^$")
        url = broker.url(vhost).replace(f"{broker.user}:{broker.password}@", "writer:secret-of-the-writer@")
        writer = RabbitPublisher([url], heartbeat_secs=10, signer=SIGNER)
        writer.publish(EventTemplate("p/PING", 77, json.JSONEncoder).for_stream(ALL, mid="m", ts=1.0))
        await rig.arrived(77)
        await asyncio.to_thread(writer.close, 1.0)
    finally:
        await asyncio.to_thread(broker.delete_user, "writer")


async def test_rights_that_are_taken_away_are_said_once_until_they_are_back(
    rig: Rig, broker: RabbitMQ, vhost: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def retry_secs(hosts: Hosts) -> float:
        tries.append(hosts)
        return 0.05

    monkeypatch.setattr(Hosts, "retry_secs", retry_secs)
    settled: list[bool] = []

    def publish(publisher: RabbitPublisher, seq: int) -> None:
        event = EventTemplate("p/PING", seq, json.JSONEncoder).for_stream(ALL, mid=str(seq), ts=1.0)
        publisher.publish(
            numbered(ALL, event.id, event.frame, event.mid, "e", seq), lambda _, done: settled.append(done)
        )

    async def may_write(what: str) -> None:
        await asyncio.to_thread(broker.set_permissions, vhost, "writer", "^$", what, "^$")

    await asyncio.to_thread(broker.add_user, "writer", "secret-of-the-writer")
    try:
        await may_write("^realtime\\.events$")
        url = broker.url(vhost).replace(f"{broker.user}:{broker.password}@", "writer:secret-of-the-writer@")
        writer = RabbitPublisher([url], heartbeat_secs=10, signer=SIGNER)
        publish(writer, 1)
        await until(lambda: settled == [True], "the first is confirmed")
        lost = counted("realtime_broker_links_lost_total", role="publisher")
        await may_write("^$")
        # A channel remembers what it was allowed to.
        await asyncio.to_thread(broker.close_connections, vhost)
        publish(writer, 2)
        await until(lambda: len(tries) > 5, "it was tried again and again")
        assert "ACCESS_REFUSED" in str(writer.problem)
        said = [record.getMessage() for record in caplog.records if "ACCESS_REFUSED" in record.getMessage()]
        assert len(said) == 1
        assert "secret" not in said[0]
        # Ours and the rig's own publisher lost their connections, and ours its channel.
        assert counted("realtime_broker_links_lost_total", role="publisher") - lost <= 3
        await may_write("^realtime\\.events$")
        await until(lambda: settled == [True, True], "the second is confirmed")
        await until(lambda: writer.problem is None, "it says so")
        await asyncio.to_thread(writer.close, 1.0)
    finally:
        await asyncio.to_thread(broker.delete_user, "writer")


_FORKING_PROGRAM = """
import os, sys, json
import django
django.setup()
from apps.realtime import EVERYONE, push
from apps.realtime.publishing.process import publishing_process

push(EVERYONE, "fork/PARENT", 1)
assert publishing_process().publisher.flush(10)
child = os.fork()
if child == 0:
    push(EVERYONE, "fork/CHILD", 2)
    sys.exit(0)  # flushed at exit
_, status = os.waitpid(child, 0)
push(EVERYONE, "fork/PARENT", 3)
sys.exit(os.waitstatus_to_exitcode(status))
"""


async def test_publishes_before_and_after_a_fork_and_flushes_at_exit(rig: Rig, broker: RabbitMQ, vhost: str) -> None:
    started = time.monotonic()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _FORKING_PROGRAM],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DEMO": "1",
            "AMQP_URL": broker.url(vhost),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    await until(lambda: len(rig.heard) == 3, f"three events; stderr: {done.stderr}")
    assert sorted(rig.heard) == [1, 2, 3]
    assert time.monotonic() - started < 30


_MULTIPROCESSING_PROGRAM = """
import multiprocessing
import django
django.setup()
from apps.realtime import EVERYONE, push

def work():
    push(EVERYONE, "child/PUSH", 1)

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join(20)
"""


async def test_a_child_of_multiprocessing_flushes_at_its_exit(rig: Rig, broker: RabbitMQ, vhost: str) -> None:
    """Such a child ends without atexit; Celery's prefork workers are of the kind."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _MULTIPROCESSING_PROGRAM],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DEMO": "1", "AMQP_URL": broker.url(vhost)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    await rig.arrived(1)


@pytest.mark.alone
async def test_exit_with_a_dead_broker_takes_two_seconds_at_most(unused_tcp_port: int) -> None:
    program = """
import django, time, sys
django.setup()
from apps.realtime import EVERYONE, push
push(EVERYONE, "exit/NOBODY", 1)
print(time.time(), flush=True)
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DEMO": "1",
            "AMQP_URL": f"amqp://127.0.0.1:{unused_tcp_port}/",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # 2 s of flushing, half a second of goodbye, and what the machine needs to end a process.
    assert time.time() - float(done.stdout) < 4.0
    assert "1 events were not confirmed" in done.stderr


def test_the_private_way_to_drop_a_connection_exists() -> None:
    """pika has no public abort: a new release that moves this must be noticed here and not in an outage."""
    assert callable(pika.SelectConnection._terminate_stream)  # type: ignore[attr-defined]
