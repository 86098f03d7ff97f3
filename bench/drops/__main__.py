"""Ours, Channels and python-socketio under the same cuts in the same run: `make drops` (docs/chaos.md)."""

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import django

from tests.services.rigs.proxy import TcpProxy

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "run" / "drops"
CUT_SECS = 2.0
# Between two cuts of a group's network.
PAUSE_SECS = (5.0, 10.0)
# After the last cut: the longest delay of a reconnecting client is 5 s, python-socketio's own.
REST_SECS = 12.0


def main() -> int:
    """Run it, print the table, write run/drops.json; 0 when ours delivered everything once."""
    parser = argparse.ArgumentParser(prog="make drops", description=__doc__)
    parser.add_argument("--secs", type=float, default=300.0, help="how long networks are cut")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    return asyncio.run(run(options.secs))


async def run(secs: float) -> int:
    """All three at once: they share the machine, the cuts and the minutes."""
    # They read Django's settings.
    from bench.drops.systems import CLIENTS, RATE, Ours, Redis, System, channels, socketio

    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    redis = Redis(FOLDER)
    systems: list[System] = [Ours(FOLDER), channels(FOLDER, redis), socketio(FOLDER, redis)]
    try:
        await asyncio.gather(*(system.start() for system in systems))
        for system in systems:
            await system.begin()
        print(f"{CLIENTS} clients each, {RATE:g} events a second to all of them, cuts of {CUT_SECS:g} s for {secs:g} s")
        await cut_networks([system.fronts for system in systems], secs)
        for system in systems:
            await system.end()
        await asyncio.sleep(REST_SECS)
        results = [await system.result() for system in systems]
    finally:
        for system in systems:
            await system.close()
        redis.close()
    print(f"{'':<28}{'sent':>8}{'due':>10}{'delivered':>11}{'twice':>7}{'%':>9}")
    for one in results:
        print(f"{one.name:<28}{one.sent:>8}{one.due:>10}{one.delivered:>11}{one.twice:>7}{one.percent:>9.2f}")
    lines = [{**asdict(one), "percent": round(one.percent, 3)} for one in results]
    (ROOT / "run" / "drops.json").write_text(json.dumps(lines, indent=1) + "\n")
    ours = results[0]
    return 0 if ours.due and ours.delivered == ours.due and not ours.twice else 1


async def cut_networks(networks: Sequence[Sequence[Sequence[TcpProxy]]], secs: float) -> None:
    """Each group of clients loses its network for 2 s again and again, that of all systems in the same moment."""
    end = time.monotonic() + secs

    async def cut(group: int) -> None:
        fronts = [front for system in networks for front in system[group]]
        while time.monotonic() < end:
            await asyncio.sleep(random.uniform(*PAUSE_SECS))  # noqa: S311
            for front in fronts:
                await asyncio.to_thread(front.refuse)
            await asyncio.sleep(CUT_SECS)
            for front in fronts:
                await asyncio.to_thread(front.restore)

    await asyncio.gather(*(cut(group) for group in range(len(networks[0]))))


if __name__ == "__main__":
    sys.exit(main())
