"""Figures of a run for people: `python -m bench.peers.report` puts them into docs/performance.md (docs/performance.md).

Reads bench/results/latest.json, rewrites what stands between the marks of the page, and draws bench/results/latest.svg.
"""

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bench.peers.plot import draw
from bench.peers.results import OURS, columns

ROOT: Final = Path(__file__).parents[2]
_FIGURES: Final = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)

Row = dict[str, Any]


def main() -> None:
    """Rewrite the page and the plot."""
    parser = argparse.ArgumentParser(prog="bench.peers.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args()
    run = json.loads(options.results.read_text())
    text, found = _FIGURES.subn(lambda _: f"\n{markdown(run)}\n", options.page.read_text())
    assert found == 1, f"{options.page} has no place for figures"
    options.page.write_text(text)
    options.results.with_suffix(".svg").write_text(draw(run["rows"]))


def markdown(run: dict[str, Any]) -> str:
    """Where and with what it was measured, and a table for each work."""
    machine = run["machine"]
    versions = {**run["versions"]["peers"], **run["versions"]["ours"]}
    lines = [
        f"{run['when']} UTC, {machine['cpus']} cores ({machine['machine']}, Linux {machine['kernel']}), "
        f"Python {run['python']}, `{run['command']}`.",
        "",
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".",
        "",
    ]
    works: dict[str, dict[str, dict[str, Row]]] = {}
    for row in run["rows"]:
        works.setdefault(row["work"], {}).setdefault(row["system"], {})[row["metric"]] = row
    for work, systems in works.items():
        lines += [*_table(work, systems), ""]
    return "\n".join(lines)


def _table(work: str, systems: dict[str, dict[str, Row]]) -> Iterable[str]:
    known = {metric for found in systems.values() for metric in found}
    main, unit, beside = columns(known)
    ours = systems.get(OURS, {}).get(main, {}).get("median")
    heads = [f"{work}, {unit}", "median", "min … max", "to ours", *beside.values(), "lost"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" + "|--:" * (len(heads) - 1) + "|"
    for name, found in systems.items():
        row = found[main]
        cells = [f"**{name}**" if name == OURS else name, _number(row["median"])]
        cells += [f"{_number(row['min'])} … {_number(row['max'])}", f"{row['median'] / ours:.2f}" if ours else ""]
        cells += [_number(found[metric]["median"]) if metric in found else "" for metric in beside]
        yield "| " + " | ".join([*cells, f"{row['lost']:,}"]) + " |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"


if __name__ == "__main__":
    main()
