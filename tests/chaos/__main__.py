"""`make chaos` (docs/chaos.md)."""

import argparse
import asyncio
import os
import shutil
import sys
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
    parser.add_argument("--without", metavar="REGEX", default="", help="all but those lines")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    # They read Django's settings.
    from tests.chaos import sizes
    from tests.chaos.lines import lines
    from tests.chaos.plant import Plant
    from tests.chaos.run import run
    from tests.chaos.stage import Stage

    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    size = sizes.QUICK if options.quick else sizes.FULL
    stage = Stage(Plant(FOLDER, size), quick=options.quick)
    return asyncio.run(run(stage, lines(size), only=options.only, without=options.without, file=CARD))


if __name__ == "__main__":
    sys.exit(main())
