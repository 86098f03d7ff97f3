"""What is done to the broker and to the connections to it, one function a line of the card (docs/chaos.md)."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.stage import Stage
from tests.services.rigs.proxy import TcpProxy
from tests.services.rigs.site import Node
from tests.services.rigs.target import request

_READY_SECS = 60
# When RabbitMQ answers.
_BACK_SECS = 5.0
# A publisher waits 10 s for a confirm before it leaves a connection; the relay has its events long before.
_PUBLISHER_FOUND_SECS = 15.0
# Erlang that switches an alarm on, and RabbitMQ's own default.
_MEMORY_ALARM = [f"vm_memory_monitor:set_vm_memory_high_watermark({share})" for share in ("0.00001", "0.4")]
_DISK_ALARM = [f"rabbit_disk_monitor:set_disk_free_limit({size})" for size in ("1 bsl 60", '"50MB"')]
_ALARM_SECS = 5
_EXCHANGE = "realtime.events"
_EXCHANGE_NAME = f'rabbit_misc:r(<<"/">>, exchange, <<"{_EXCHANGE}">>)'
_DELETE_EXCHANGE = f'rabbit_exchange:delete({_EXCHANGE_NAME}, false, <<"chaos">>)'
_CLOSE_CONNECTIONS = '[rabbit_networking:close_connection(Pid, "chaos") || Pid <- rabbit_networking:connections()]'
_QUIET_EVENTS = 5
_LINK_LOST = "Events cannot leave"


async def broker_killed(stage: Stage) -> None:
    """kill -9, and started again at once; then the first event for long of a process that had nothing to say."""
    broker, quiet = stage.plant.rabbitmq, stage.plant.quiet
    await _fall_quiet(stage)
    after_quiet = "first event of a quiet publisher"
    stage.open(after_quiet, _BACK_SECS)
    for number in range(stage.choose(5, 1)):
        async with stage.fault():
            await asyncio.to_thread(broker.kill9)
            broker.start()
            await asyncio.to_thread(broker.wait_ready)
        if number == 0:
            await quiet.order(row=after_quiet, burst=_QUIET_EVENTS)
        await stage.pause()


async def _fall_quiet(stage: Stage) -> None:
    """Wait until the quiet process has said nothing for so long that its link is dead unless it sends heartbeats."""
    plant = stage.plant
    if plant.quiet_since is None:
        await speak_once(stage)
    assert plant.quiet_since is not None
    await asyncio.sleep(plant.quiet_since + plant.size.found_secs - time.monotonic())
    if not plant.said("quiet", "Publishing to") or plant.said("quiet", _LINK_LOST):
        stage.wrong[stage.line].append("the link of a quiet publisher was lost")


async def speak_once(stage: Stage) -> None:
    """Let the quiet process publish a little, and so connect."""
    await stage.plant.quiet.order(row=stage.line, burst=_QUIET_EVENTS)
    stage.plant.quiet_since = time.monotonic()


async def node_half_open(stage: Stage) -> None:
    """Every AMQP connection of one node goes dead without a word, both ways, for ever. The fault is over at once."""
    for number in range(stage.choose(2, 1)):
        found_secs = stage.plant.size.found_secs
        await _half_open(stage, stage.plant.node_amqp[number], [f"node{number}"], "Listening on", found_secs)


async def publisher_half_open(stage: Stage) -> None:
    """The same for the connections of the web processes and the relay."""
    for _ in range(stage.choose(2, 1)):
        await _half_open(stage, stage.plant.web_amqp, ["web0", "web1"], "Publishing to", _PUBLISHER_FOUND_SECS)


async def _half_open(
    stage: Stage, proxy: TcpProxy, processes: Sequence[str], connected: str, found_secs: float
) -> None:
    plant = stage.plant
    before = [plant.said(process, connected) for process in processes]
    async with stage.fault():
        await asyncio.to_thread(proxy.half_open)

    def found() -> bool:
        return all(plant.said(process, connected) > n for process, n in zip(processes, before, strict=True))

    if not await plant.until(found, found_secs):
        stage.wrong[stage.line].append(f"{' or '.join(processes)} has not found that its connection is dead")


async def queues_deleted(stage: Stage) -> None:
    """Every queue of the nodes: the broker cancels their consumers and nothing else happens."""
    code = (
        '[rabbit_amqqueue:delete(Q, false, false, <<"chaos">>) || Q <- rabbit_amqqueue:list(<<"/">>), '
        '{resource, _, queue, <<"realtime.", _/binary>>} <- [amqqueue:get_name(Q)]]'
    )
    for _ in range(stage.choose(2, 1)):
        async with stage.fault():
            await asyncio.to_thread(stage.plant.rabbitmq.eval, code)
        await stage.pause()


async def exchange_deleted(stage: Stage) -> None:
    """And with it every binding: nothing tells the nodes."""
    async with stage.fault():
        await asyncio.to_thread(stage.plant.rabbitmq.eval, _DELETE_EXCHANGE)
    # Until the last of them is back, events are lost on the way: the next line must not inherit that.
    await asyncio.sleep(stage.plant.size.found_secs)


async def broker_frozen(stage: Stage) -> None:
    """SIGSTOP: connections stay open and nobody answers."""
    async with stage.fault():
        stage.plant.rabbitmq.freeze()
        await asyncio.sleep(stage.choose(20, 6))
        stage.plant.rabbitmq.thaw()


async def exchange_of_another_type(stage: Stage) -> None:
    """406: somebody has declared it otherwise, and whoever connects cannot declare it."""
    broker = stage.plant.rabbitmq
    other = f'rabbit_exchange:declare({_EXCHANGE_NAME}, fanout, true, false, false, [], <<"chaos">>)'
    async with stage.fault():
        await asyncio.to_thread(broker.eval, f"{_DELETE_EXCHANGE}, {other}, {_CLOSE_CONNECTIONS}")
        await asyncio.sleep(stage.choose(10, 2))
        _must_have_said(stage, "PRECONDITION_FAILED")
        await asyncio.to_thread(broker.eval, _DELETE_EXCHANGE)


async def rights_taken(stage: Stage) -> None:
    """403: the user of the site may do nothing any more, and everybody has to connect anew."""
    broker = stage.plant.rabbitmq
    rights = 'rabbit_auth_backend_internal:set_permissions(<<"{0}">>, <<"/">>, {1}, {1}, {1}, <<"chaos">>)'
    nothing = rights.format(broker.user, '<<"^$">>')
    async with stage.fault():
        await asyncio.to_thread(broker.eval, f"{nothing}, {_CLOSE_CONNECTIONS}")
        await asyncio.sleep(stage.choose(10, 2))
        _must_have_said(stage, "ACCESS_REFUSED")
        await asyncio.to_thread(broker.eval, rights.format(broker.user, '<<".*">>'))


def _must_have_said(stage: Stage, text: str) -> None:
    """A node and a publisher have met what is broken."""
    for process in ("node0", "web0"):
        if not stage.plant.said(process, text):
            stage.wrong[stage.line].append(f"{process} has not met {text}")


async def broker_gone(stage: Stage) -> None:
    """Durable events go on arriving, only slower, also by a node that starts meanwhile.

    One node is restarted, and one is new and can write no log: its disk is full.
    """
    plant = stage.plant
    broker, node = plant.rabbitmq, plant.nodes[1]
    async with stage.fault():
        await asyncio.to_thread(broker.stop)
        await asyncio.sleep(stage.choose(30, 3))
        await asyncio.to_thread(plant.meters.read)
        await asyncio.to_thread(node.stop)
        plant.start_node(1)
        fresh = plant.fresh_node(log=Path("/dev/full"))
        for one in (node, fresh):
            if not await plant.until(lambda one=one: _is_up(one), _READY_SECS):  # type: ignore[misc]
                stage.wrong[stage.line].append("a node does not start without RabbitMQ")
        tab = plant.open_tab("tab at the fresh node", plant.users[0], 0, lambda: fresh.websocket)
        await plant.until(lambda: tab.online, _READY_SECS)
        await asyncio.sleep(stage.choose(30, 2))
        if node.is_ready or fresh.is_ready:
            stage.wrong[stage.line].append("a node calls itself ready without RabbitMQ")
        broker.start()
        await asyncio.to_thread(broker.wait_ready)
    if not await plant.until(lambda: node.is_ready and fresh.is_ready, _BACK_SECS):
        stage.wrong[stage.line].append("a node was not ready within 5 s of RabbitMQ")
    tab.move(plant.choose(0))
    async with stage.fault():
        await asyncio.to_thread(fresh.stop)


def _is_up(node: Node) -> bool:
    try:
        return request(node, "/healthz").status == 200
    except OSError:
        return False


async def memory_alarm(stage: Stage) -> None:
    """The broker stops reading from whoever publishes."""
    await _alarm(stage, *_MEMORY_ALARM)


async def disk_alarm(stage: Stage) -> None:
    """The same, and it takes longer in life until somebody has made room."""
    await _alarm(stage, *_DISK_ALARM)


async def _alarm(stage: Stage, on: str, off: str) -> None:
    plant = stage.plant
    heard = plant.said("web0", "alarm is on")
    async with stage.fault():
        await asyncio.to_thread(plant.rabbitmq.eval, on)
        if not await plant.until(lambda: plant.said("web0", "alarm is on") > heard, _ALARM_SECS):
            stage.wrong[stage.line].append(f"publishers did not speak of the alarm within {_ALARM_SECS} s")
        await asyncio.sleep(stage.choose(15, 2))
        await asyncio.to_thread(plant.rabbitmq.eval, off)


async def connections_closed(stage: Stage) -> None:
    """By the operator, again and again."""
    for _ in range(stage.choose(20, 3)):
        async with stage.fault():
            await asyncio.to_thread(stage.plant.rabbitmq.eval, _CLOSE_CONNECTIONS)
        await asyncio.sleep(1)
