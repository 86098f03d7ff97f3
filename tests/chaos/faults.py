"""What is done to processes, database and clients, one function a line of the card (docs/chaos.md)."""

import asyncio
import random
import signal
import time
from pathlib import Path

from tests.chaos.broker_faults import speak_once
from tests.chaos.plant import DATABASE, GROUPS, NODES
from tests.chaos.records import Verdict
from tests.chaos.stage import Stage
from tests.chaos.tab import Tab
from tests.chaos.traps import STAGES

_BURST_EVENTS = 40
_READY_SECS = 60
_NETWORK_CUT_SECS = 2.0


async def nothing(stage: Stage) -> None:
    """No fault: what the figures of the others are to be compared with."""
    await speak_once(stage)
    await asyncio.sleep(stage.choose(50, 7))


async def node_killed(stage: Stage) -> None:
    """Each node in turn."""
    for number in range(NODES):
        for _ in range(stage.choose(5, 1)):
            await asyncio.to_thread(stage.plant.meters.read)
            async with stage.fault():
                stage.plant.nodes[number].kill9()
                await _start_node(stage, number)
            await stage.pause()


async def node_restarted(stage: Stage) -> None:
    """Each node in turn, as a deployment does."""
    for number in range(NODES):
        for _ in range(stage.choose(5, 1)):
            await asyncio.to_thread(stage.plant.meters.read)
            async with stage.fault():
                await asyncio.to_thread(stage.plant.nodes[number].stop)
                await _start_node(stage, number)
            await stage.pause()


async def web_killed(stage: Stage) -> None:
    """A web process dies right after each step of an event's way out; a line for each."""
    names = {step: f"web process killed after: {step}" for step in STAGES}
    doomed = {step: stage.plant.web(f"web-{step}", {"CHAOS_DIE_AT": step}) for step in STAGES}
    await asyncio.gather(*(web.wait_ready() for web in doomed.values()))
    for step, web in doomed.items():
        line = names[step]
        stage.open(line, 5.0)
        async with stage.fault(line=line):
            web.say(row=line, burst=_BURST_EVENTS)
            if await web.wait_dead() != -signal.SIGKILL:
                stage.wrong[line].append("the process did not come to this step")
        web.close()


async def relay_killed(stage: Stage) -> None:
    """While it is away a web process leaves work for it."""
    plant = stage.plant
    for number in range(stage.choose(3, 1)):
        web = plant.web(f"web-left{number}", {"CHAOS_DIE_AT": "commit-number"})
        await web.wait_ready()
        async with stage.fault():
            plant.relay.kill9()
            web.say(row=stage.line, burst=_BURST_EVENTS)
            await web.wait_dead()
            plant.start_relay()
            if not await plant.until(plant.relay_works, _READY_SECS):
                stage.wrong[stage.line].append("the relay did not start")
        web.close()
        await stage.pause()


async def database_restarted(stage: Stage) -> None:
    """kill -9: requests fail, and what they were told is what counts."""
    postgres = stage.plant.postgres
    async with stage.fault():
        await asyncio.to_thread(postgres.kill9)
        postgres.start()
        await asyncio.to_thread(postgres.wait_ready)


async def node_frozen(stage: Stage) -> None:
    """SIGSTOP: its sockets and its queues stay, and fill."""
    process = stage.plant.nodes[0].process
    async with stage.fault():
        process.send(signal.SIGSTOP)
        await asyncio.sleep(stage.choose(20, 4))
        process.send(signal.SIGCONT)


async def database_stalled(stage: Stage) -> None:
    """Connections to it stay open and nothing passes, under a load of bulk notifications."""
    plant = stage.plant
    bulk = len(plant.users) // 4
    await stage.load(rate=stage.choose(1000, 300) / bulk, bulk=bulk)
    await asyncio.sleep(3)
    async with stage.fault():
        await asyncio.to_thread(plant.node_database.black_hole)
        await asyncio.to_thread(plant.web_database.black_hole)
        await asyncio.sleep(stage.choose(20, 6))
        await asyncio.to_thread(plant.node_database.restore)
        await asyncio.to_thread(plant.web_database.restore)
    await asyncio.sleep(2)


async def database_gone_for_nodes(stage: Stage) -> None:
    """Nobody new is let in, nobody is told a wrong word, and who is in goes on."""
    plant = stage.plant
    async with stage.fault():
        await asyncio.to_thread(plant.node_database.refuse)
        for front in plant.fronts[0]:
            await asyncio.to_thread(front.cut)
        await asyncio.sleep(stage.choose(15, 4))
        await asyncio.to_thread(plant.node_database.restore)


async def networks_cut(stage: Stage) -> None:
    """Each group of clients loses its network for 2 s, again and again."""
    end = time.monotonic() + stage.choose(120, 9)

    async def cut(group: int) -> None:
        while True:
            await asyncio.sleep(random.uniform(stage.choose(5, 1), stage.choose(10, 3)))
            if time.monotonic() > end:
                return
            async with stage.fault(group):
                for front in stage.plant.fronts[group]:
                    await asyncio.to_thread(front.refuse)
                await asyncio.sleep(_NETWORK_CUT_SECS)
                for front in stage.plant.fronts[group]:
                    await asyncio.to_thread(front.restore)

    await asyncio.gather(*(cut(group) for group in range(GROUPS)))


async def everybody_reconnects(stage: Stage) -> None:
    """All sockets at once."""
    for _ in range(stage.choose(5, 1)):
        async with stage.fault():
            for fronts in stage.plant.fronts:
                for front in fronts:
                    await asyncio.to_thread(front.cut)
        await stage.pause()


async def history_trimmed(stage: Stage) -> None:
    """A lid is closed for longer than history is kept: told, never silent; nobody else notices."""
    plant = stage.plant
    away = plant.tabs[:10:2]
    kept = 5
    streams = [tab.diary.streams[0] for tab in away]
    for tab in away:
        tab.leave()
    before = {stream: cursor.seq for tab in away for stream, cursor in tab.cursors.items() if stream in streams}

    def enough() -> bool:
        heads = plant.ledger.heads()
        return all(stream in heads and heads[stream].seq > seq + 2 * kept for stream, seq in before.items())

    if not await plant.until(enough, 60):
        stage.wrong[stage.line].append("too few events for trimming")
    await stage.rest()
    await plant.settled(10)
    # What is about to be trimmed.
    await asyncio.to_thread(plant.ledger.collect)
    await asyncio.to_thread(plant.relay.stop)
    plant.start_relay({"REALTIME_HISTORY_MAX_EVENTS": str(kept)})

    def trimmed() -> bool:
        floors = dict(plant.ledger.query("SELECT name, floor FROM message_flow_stream"))
        return all(floors.get(stream, 0) > seq for stream, seq in before.items())

    if not await plant.until(trimmed, 60):
        stage.wrong[stage.line].append("nothing was trimmed")
    await asyncio.to_thread(plant.relay.stop)
    plant.start_relay()
    marks = [len(tab.diary.entries) for tab in away]
    for tab in away:
        tab.come_back()
    await plant.until(lambda: all(tab.online for tab in away), 20)
    for tab, mark, stream in zip(away, marks, streams, strict=True):
        told = [entry for entry in tab.diary.entries[mark:] if isinstance(entry, Verdict)]
        if not any((entry.stream, entry.state, entry.reason) == (stream, "gap", "trimmed") for entry in told):
            stage.wrong[stage.line].append(f"{tab.diary.name} was not told that {stream} is trimmed")
    for tab in plant.tabs:
        if tab not in away and _gaps(stage, tab):
            stage.wrong[stage.line].append(f"{tab.diary.name} was told of a gap though it was never away")
    await stage.load()


async def backup_restored(stage: Stage) -> None:
    """The database forgets what everybody has seen; the operator rotates the epoch, and everybody is told."""
    plant = stage.plant
    dump = Path(plant.folder / "backup.sql")
    await stage.rest()
    await plant.settled(10)
    await asyncio.to_thread(plant.pg, "pg_dump", "--format=custom", f"--file={dump}", DATABASE)
    await stage.load()
    await asyncio.sleep(2)
    await stage.rest()
    await plant.settled(10)
    await asyncio.to_thread(plant.ledger.collect)
    away = plant.tabs[:10]
    for tab in away:
        tab.leave()
    async with stage.fault():
        await asyncio.to_thread(plant.postgres.dropdb, DATABASE)
        await asyncio.to_thread(plant.postgres.createdb, DATABASE)
        await asyncio.to_thread(plant.pg, "pg_restore", f"--dbname={DATABASE}", str(dump))
        await asyncio.to_thread(plant.site.manage, "realtime", "rotate-epoch", "--yes")
    plant.ledger.begin_anew()
    for tab in away:
        tab.come_back()
    await stage.load()
    await asyncio.sleep(4)


def everybody_told(stage: Stage) -> list[str]:
    """Each tab, there or away, was told of the new epoch of each of its streams."""
    wrong = []
    for tab in stage.plant.tabs:
        if missing := set(tab.diary.streams) - _gaps(stage, tab):
            wrong.append(f"{tab.diary.name} was not told of the new epoch of {sorted(missing)}")
    return wrong


def _gaps(stage: Stage, tab: Tab) -> set[str]:
    """The streams that a tab was told to load anew in this line."""
    entries = [entry for entry in tab.diary.entries if isinstance(entry, Verdict)]
    return {entry.stream for entry in entries if entry.state == "gap" and entry.at > stage.began[stage.line]}


async def _start_node(stage: Stage, number: int) -> None:
    stage.plant.start_node(number)
    await asyncio.to_thread(stage.plant.nodes[number].wait_ready, _READY_SECS)
