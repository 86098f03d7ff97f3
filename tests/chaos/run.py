"""A run of the card, from the start of the site to the verdict (docs/chaos.md)."""

import asyncio
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.card import HEADING, Card
from tests.chaos.stage import Line, Stage


async def run(
    stage: Stage,
    lines: Sequence[Line],
    *,
    only: str,
    without: str = "",
    file: Path,
    say: Callable[[Line], None] = lambda _: None,
) -> int:
    """Start the site, play the lines, judge, print, write into `file`; 0 when every figure is as asked.

    `only` and `without` match names of lines; where they are empty they match all and none. With `only`, so few may be
    left that the control sees nothing. `say` may print more of a line that was played.
    """
    plant = stage.plant
    began = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    # Everything that was started is in sessions of its own: whoever ends this process ends all of it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await plant.start()
        print(f"{len(plant.tabs)} tabs of {len(plant.users)} users on {len(plant.nodes)} nodes. Logs: {plant.folder}")
        print(HEADING, flush=True)
        for line in lines:
            if not re.search(only, line.name) or (without and re.search(without, line.name)):
                continue
            before = set(stage.lines)
            await stage.play(line)
            new = stage.lines.keys() - before
            card = Card(stage, timed=new)
            for name, played in stage.lines.items():
                if name in new:
                    print(card.line(played), flush=True)
            say(line)
        await stage.finish()
        card = Card(stage)
    finally:
        await plant.close()
    card.write(file, plant.folder / "wrong.txt")
    print(card.end(whole=not only))
    fine = card.is_fine and (card.control_sees or bool(only))
    print(f"{'As asked' if fine else 'NOT as asked'}, {time.monotonic() - began:.0f} s. {file}")
    return 0 if fine else 1
