"""What happens between tabs and nodes, one function a line of the card (docs/chaos.md)."""

import asyncio
import os
import signal

from tests.chaos.limits import can_lose_packets, no_more_files, packet_loss
from tests.chaos.plant import NGINX_GROUP
from tests.chaos.stage import Stage
from tests.chaos.stuck import StuckReaders
from tests.services.rigs.site import Node
from tests.services.rigs.wire import Wire

_BACK_SECS = 10
# Readers that never read
_BURST_EVENTS = 80
_BURST_BYTES = 100_000
_GROWTH_MIB_MAX = 3.0
_CLOSED_SECS = 5.0
# A bad network
_BAD_GROUP = 1
_BYTES_PER_SEC = 256_000 / 8
_LOSS = 0.3
# Used up files
_AWAY_GROUP = 2
_HANDSHAKE_SECS = 2.0


async def readers_stuck(stage: Stage) -> None:
    """Sockets that never read, beside tabs of the same user who get everything in time.

    Seed sockets are closed as soon as too much waits for them. The v1 ones have 30 s: other lines are played meanwhile.
    """
    plant = stage.plant
    user, node, count = plant.users[0], plant.nodes[0], stage.choose(40, 20)
    stuck = await StuckReaders.open(node, user.token, count)
    stage.to_finish(stuck.ended)
    burst = asyncio.create_task(plant.quiet.order(row=stage.line, burst=_BURST_EVENTS, to=user.pk, bytes=_BURST_BYTES))

    def over() -> bool:
        stuck.look()
        return burst.done() and stuck.closed >= count // 2

    await plant.until(over, _CLOSED_SECS)
    await burst
    if stuck.closed < count // 2:
        stage.wrong[stage.line].append(f"{stuck.closed} of {count // 2} seed readers were closed with 4002")
    if stuck.grown_mib > count * _GROWTH_MIB_MAX:
        stage.wrong[stage.line].append(f"the node grew by {stuck.grown_mib:.0f} MiB over {count} readers")


async def nginx_reloaded(stage: Stage) -> None:
    """A reload closes no socket; a worker that is killed closes its own, and they come back through another."""
    for _ in range(stage.choose(3, 1)):
        await _reload_nginx(stage)
        await asyncio.sleep(stage.choose(5, 0))


async def _reload_nginx(stage: Stage) -> None:
    plant, nginx = stage.plant, stage.plant.nginx
    before, old = _sessions(stage, NGINX_GROUP), nginx.workers
    nginx.reload()
    if not await plant.until(lambda: len(nginx.workers - old) == len(old), _BACK_SECS):
        stage.wrong[stage.line].append("nginx did not start new workers")
    # Who comes now comes to a new worker.
    await _handshake(nginx.port)
    if _sessions(stage, NGINX_GROUP) != before:
        stage.wrong[stage.line].append("a reload of nginx closed sockets")
    async with stage.fault(NGINX_GROUP):
        for worker in old & nginx.workers:
            os.kill(worker, signal.SIGKILL)
        tabs = plant.group(NGINX_GROUP)
        if not await plant.until(lambda: _sessions(stage, NGINX_GROUP) >= before + len(tabs), _BACK_SECS):
            stage.wrong[stage.line].append("not every tab came back through nginx")


async def network_bad(stage: Stage) -> None:
    """256 kbit/s and losses: slower, and nobody reconnects more than once a minute."""
    plant = stage.plant
    fronts, secs = plant.fronts[_BAD_GROUP], stage.choose(40, 5)
    before = _sessions(stage, _BAD_GROUP)
    stalls = sum(front.stalls for front in fronts)
    async with stage.fault(_BAD_GROUP):
        for front in fronts:
            await asyncio.to_thread(front.slow_down, _BYTES_PER_SEC, _LOSS)
        await asyncio.sleep(secs)
        for front in fronts:
            await asyncio.to_thread(front.restore)
    if sum(front.stalls for front in fronts) == stalls:
        stage.wrong[stage.line].append("the network was not bad")
    if not stage.quick and can_lose_packets():
        async with stage.fault(_BAD_GROUP):
            with packet_loss([front.port for front in fronts], _LOSS):
                await asyncio.sleep(secs)
            secs *= 2
    reconnects = _sessions(stage, _BAD_GROUP) - before
    if reconnects > len(plant.group(_BAD_GROUP)) * secs / 60:
        stage.wrong[stage.line].append(f"{reconnects} reconnects of {len(plant.group(_BAD_GROUP))} tabs in {secs} s")


async def files_used_up(stage: Stage) -> None:
    """A node at its limit of files takes nobody new, and who is connected notices nothing."""
    plant, node = stage.plant, stage.plant.nodes[0]
    others = [group for group in range(len(plant.fronts)) if group != _AWAY_GROUP]
    before = [_sessions(stage, group) for group in others]
    async with stage.fault(_AWAY_GROUP):
        with no_more_files(node.process.pid):
            if await _takes_sockets(node):
                stage.wrong[stage.line].append("the node was not at its limit")
            for front in plant.fronts[_AWAY_GROUP]:
                await asyncio.to_thread(front.cut)
            await asyncio.sleep(stage.choose(20, 2))
    if not await _takes_sockets(node):
        stage.wrong[stage.line].append("the node takes no sockets after its limit was raised")
    if [_sessions(stage, group) for group in others] != before:
        stage.wrong[stage.line].append("a socket that was open was closed")


def _sessions(stage: Stage, group: int) -> int:
    return sum(tab.sessions for tab in stage.plant.group(group))


async def _takes_sockets(node: Node) -> bool:
    try:
        await _handshake(node.port)
    except (OSError, EOFError):
        return False
    return True


async def _handshake(port: int) -> None:
    async with asyncio.timeout(_HANDSHAKE_SECS):
        (await Wire.open(port)).close()
