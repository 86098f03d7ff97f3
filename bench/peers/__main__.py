"""`python -m bench.peers`: the systems in turn, round after round, and the table (docs/performance.md)."""

import argparse
import shutil
import sys
from pathlib import Path

from bench.peers.results import Results
from bench.peers.services import Services
from bench.peers.systems import ROOT, SYSTEMS
from bench.peers.works import OTHERS, STEADY, Size, steady

# Logs of every process stay here.
FOLDER = ROOT / "run" / "bench"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--work", default=",".join((*STEADY, *OTHERS)), help="separated by commas")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--secs", type=float, default=5, help="of paced work")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    options = parser.parse_args()
    works = options.work.split(",")
    unknown = (set(works) - {*STEADY, *OTHERS}) | (set(options.systems.split(",")) - SYSTEMS.keys())
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    systems = [SYSTEMS[name] for name in options.systems.split(",")]
    size = Size(options.sockets, options.secs)
    results = Results()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    services = Services(FOLDER)
    try:
        for turn in range(options.rounds):
            for system in systems:
                print(f"round {turn + 1} of {options.rounds}: {system.name}", file=sys.stderr, flush=True)
                here = FOLDER / system.name
                if set(works) & set(STEADY):
                    for work, values in steady(system, services, here, size, set(works)):
                        results.add(work, system.name, values)
                for work in OTHERS.keys() & set(works):
                    for line, values in OTHERS[work](system, services, here, size):
                        results.add(line, system.name, values)
    finally:
        services.close()
    print(results.table())
    results.write(options.out, " ".join(sys.argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
