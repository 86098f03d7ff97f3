"""`make chaos` (docs/chaos.md)."""

import argparse
import asyncio
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import django

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "run" / "chaos"
CARD = ROOT / "run" / "chaos.json"


def main() -> int:
    """Run it; 0 when every figure is as asked."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every kind of fault once, in a few minutes")
    parser.add_argument("--only", metavar="REGEX", default="", help="only the lines whose name matches")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    return asyncio.run(run(quick=options.quick, only=options.only))


async def run(*, quick: bool, only: str) -> int:
    """Start the site, play the lines, judge, print, write."""
    # They read Django's settings.
    from tests.chaos import sizes
    from tests.chaos.card import HEADING, Card
    from tests.chaos.lines import lines
    from tests.chaos.plant import Plant
    from tests.chaos.stage import Stage

    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    size = sizes.QUICK if quick else sizes.FULL
    plant = Plant(FOLDER, size)
    stage = Stage(plant, quick=quick)
    began = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    # Everything that was started is in sessions of its own: whoever ends this process ends all of it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await plant.start()
        print(f"{len(plant.tabs)} tabs of {len(plant.users)} users on {len(plant.nodes)} nodes. Logs: {FOLDER}")
        print(HEADING, flush=True)
        for line in lines(size):
            if not re.search(only, line.name):
                continue
            before = set(stage.lines)
            await stage.play(line)
            new = stage.lines.keys() - before
            card = Card(stage, timed=new)
            for name, played in stage.lines.items():
                if name in new:
                    print(card.line(played), flush=True)
        await stage.finish()
        card = Card(stage)
    finally:
        await plant.close()
    card.write(CARD, FOLDER / "wrong.txt")
    print(card.end(whole=not only))
    fine = card.is_fine and (card.control_sees or bool(only))
    print(f"{'As asked' if fine else 'NOT as asked'}, {time.monotonic() - began:.0f} s. {CARD}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
