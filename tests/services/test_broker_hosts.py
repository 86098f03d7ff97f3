"""Several hosts of one broker: each link finds one that works and leaves one that does not (docs/brokers.md)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from prometheus_client import REGISTRY

from apps.realtime.brokers.rabbitmq import publisher as publisher_module
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
    """Two ways to the broker that stand for two hosts, a dead host, and both links."""

    def __init__(self, broker: RabbitMQ, vhost: str, hosts: list[TcpProxy], dead_port: int) -> None:
        self.hosts = hosts
        self.ports = [dead_port, *(host.port for host in hosts)]
        urls = [broker.url(vhost).replace(f":{broker.port}/", f":{port}/") for port in self.ports]
        self.publisher = RabbitPublisher(urls, heartbeat_secs=HEARTBEAT_SECS, signer=SIGNER)
        self.listener = RabbitListener(urls, heartbeat_secs=HEARTBEAT_SECS, per_user_queues=True, signer=SIGNER)
        self.heard: set[int] = set()
        self.sent = 0

    async def flows(self, deadline_secs: float = 30.0) -> None:
        """Send durable events until one of them is heard: those before a listener is bound are the database's."""
        first = self.sent

        def heard() -> bool:
            self.sent += 1
            event = EventTemplate("p/PING", self.sent, json.JSONEncoder).for_stream(ALL, mid=str(self.sent), ts=1.0)
            self.publisher.publish(numbered(ALL, event.id, event.frame, event.mid, "epoch", self.sent))
            return any(number > first for number in self.heard)

        await until(heard, "an event arrives", deadline_secs)

    def is_on(self, host: TcpProxy) -> bool:
        """Whether both links are up with this host, as a site sees it."""
        return [
            REGISTRY.get_sample_value("realtime_broker_host", {"role": role, "host": f"127.0.0.1:{host.port}"})
            for role in ("publisher", "listener")
        ] == [1, 1]


@pytest.fixture
async def rig(
    broker: RabbitMQ,
    vhost: str,
    proxy: Callable[[int], TcpProxy],
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Rig]:
    monkeypatch.setattr(publisher_module, "CONFIRM_TIMEOUT_SECS", 2.0)
    rig = Rig(broker, vhost, [proxy(broker.port), proxy(broker.port)], unused_tcp_port)
    rig.listener.start(lambda event: rig.heard.add(json.loads(event.frame)["data"]))
    rig.publisher.start()
    yield rig
    for host in rig.hosts:
        await asyncio.to_thread(host.restore)
    await asyncio.to_thread(rig.publisher.close, 1.0)
    await rig.listener.close()


async def test_dead_hosts_are_passed_over_and_a_host_that_dies_is_left(rig: Rig) -> None:
    await rig.flows()
    # One of the two ways leads past the dead host.
    for lost, left in (rig.hosts, rig.hosts[::-1]):
        await asyncio.to_thread(lost.refuse)
        await until(partial(rig.is_on, left), "both links are on the other host")
        await rig.flows()
        await asyncio.to_thread(lost.restore)


async def test_a_host_that_says_nothing_is_left(rig: Rig) -> None:
    one, two = rig.hosts
    await asyncio.to_thread(two.refuse)
    await until(lambda: rig.is_on(one), "both links are on one host")
    await asyncio.to_thread(two.restore)
    await asyncio.to_thread(one.black_hole)
    await rig.flows()
    await until(lambda: rig.is_on(two), "both links are on the other host")


async def test_hosts_that_are_all_away_are_asked_again_and_named(rig: Rig, broker: RabbitMQ) -> None:
    _, two = rig.hosts
    await rig.flows()
    for host in rig.hosts:
        await asyncio.to_thread(host.refuse)
    problems: set[str | None] = set()

    def each_has_failed() -> bool:
        problems.update([rig.publisher.problem, rig.listener.problem])
        return all(any(f"127.0.0.1:{port}/" in str(problem) for problem in problems) for port in rig.ports)

    await until(each_has_failed, "each host is named as the problem")
    assert not any(broker.password in str(problem) for problem in problems)
    await asyncio.to_thread(two.restore)
    await rig.flows()
    await until(lambda: rig.is_on(two), "both links are on the host that is back")


def test_a_host_that_fell_out_with_nobody_is_not_healed(rabbitmq: RabbitMQ) -> None:
    pid = rabbitmq.eval("erlang:whereis(rabbit_node_monitor)")
    assert rabbitmq.heal() == ""
    assert rabbitmq.eval("erlang:whereis(rabbit_node_monitor)") == pid
