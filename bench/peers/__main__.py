"""`python -m bench.peers`: the systems in turn, round after round, and the table (docs/performance.md)."""

import argparse
import resource
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.plot import draw
from bench.peers.results import Results
from bench.peers.services import Services
from bench.peers.systems import ROOT, SYSTEMS, System
from bench.peers.works import HEAVY, OTHERS, STEADY, Found, Size, steady

# Logs of every process stay here.
FOLDER = ROOT / "run" / "bench"


@dataclass(frozen=True)
class Preset:
    """What is measured where nothing else is asked."""

    works: Sequence[str]
    systems: Sequence[str]
    sockets: int
    secs: float


FULL = Preset((*STEADY, *OTHERS), tuple(SYSTEMS), 500, 5)
QUICK = Preset(
    ("connect", "memory", "unicast", "broadcast"),
    (
        *("message-flow", "pattern-2016", "socketio-redis-uvicorn", "channels-redis-pubsub-daphne"),
        *("floor-daphne-consumer", "floor-send"),
    ),
    200,
    2,
)


def raise_file_limit() -> int:
    """A socket is a file, on both sides: allow as many as we may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main figures within 5 minutes")
    parser.add_argument("--work", help="separated by commas")
    parser.add_argument("--systems", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sockets", type=int)
    parser.add_argument("--secs", type=float, help="of paced work")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    options = parser.parse_args()
    preset = QUICK if options.quick else FULL
    works = options.work.split(",") if options.work else preset.works
    names = options.systems.split(",") if options.systems else preset.systems
    unknown = (set(works) - (STEADY | OTHERS.keys())) | (set(names) - SYSTEMS.keys())
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    systems = [SYSTEMS[name] for name in names]
    size = Size(options.sockets or preset.sockets, options.secs or preset.secs)
    files = raise_file_limit()
    print(f"{size.sockets} sockets, {options.rounds} rounds; a process may open {files:,} files", file=sys.stderr)
    results = Results()
    failed: list[str] = []
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    services = Services(FOLDER)
    try:
        for turn in range(options.rounds):
            for system in systems:
                print(f"round {turn + 1} of {options.rounds}: {system.name}", file=sys.stderr, flush=True)
                try:
                    # Storms and thousands of sockets take minutes: for the main ones only, unless somebody asks.
                    kept = works if options.systems or system.name in QUICK.systems else set(works) - HEAVY
                    for work, values in _play(system, services, size, kept):
                        results.add(work, system.name, values)
                except (RuntimeError, TimeoutError, AssertionError) as error:
                    # The others go on: what was found so far stands in the table.
                    failed.append(f"{system.name}, round {turn + 1}: {error}")
                    print(failed[-1], file=sys.stderr, flush=True)
    finally:
        services.close()
    print(results.table())
    command = " ".join(["python", "-m", "bench.peers", *sys.argv[1:]])
    results.write(options.out, command)
    options.out.with_suffix(".svg").write_text(draw(results.rows))
    print("".join(f"\nFAILED {line}" for line in failed))
    return 1 if failed else 0


def _play(system: System, services: Services, size: Size, works: Collection[str]) -> Found:
    folder = FOLDER / system.name
    if STEADY & set(works):
        yield from steady(system, services, folder, size, set(works))
    for work, play in OTHERS.items():
        if work in works:
            yield from play(system, services, folder, size)


if __name__ == "__main__":
    sys.exit(main())
