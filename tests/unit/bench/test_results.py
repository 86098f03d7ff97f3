"""Medians, ratios and losses: what a table of the bench says (docs/performance.md)."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

from bench.peers.plot import draw
from bench.peers.report import markdown
from bench.peers.results import Results


def two_systems() -> Results:
    results = Results()
    for value, lost in ((20.0, 0), (10.0, 3), (90.0, 0)):
        results.add("broadcast paced", "message-flow", {"cpu_us_per_delivery": value, "lost": 0})
        results.add("broadcast paced", "a <peer>", {"cpu_us_per_delivery": 2 * value, "lost": lost, "load_busy": 0.7})
    return results


def test_a_row_has_median_spread_and_everything_that_was_lost() -> None:
    assert two_systems().rows[1] == {
        "work": "broadcast paced",
        "system": "a <peer>",
        "metric": "cpu_us_per_delivery",
        "median": 40.0,
        "min": 20.0,
        "max": 180.0,
        "lost": 3,
    }


def test_the_table_has_the_ratio_to_ours_and_a_word_on_a_load_generator_at_its_limit() -> None:
    ours, peer = two_systems().table().splitlines()[-2:]
    assert re.search(r"20\.0 +10\.0 … 90\.0 +1\.00 x +0$", ours.removesuffix(" " * 11))
    assert re.search(r"40\.0 +20\.0 … 180\.0 +2\.00 x +3 +0\.70  the load generator could not take twice", peer)


def test_the_file_says_where_and_with_what(tmp_path: Path) -> None:
    two_systems().write(tmp_path / "results" / "latest.json", "python -m bench.peers")
    content = json.loads((tmp_path / "results" / "latest.json").read_text())
    assert content["command"] == "python -m bench.peers"
    assert content["versions"]["ours"]["daphne"]
    assert content["rows"] == two_systems().rows


def test_the_page_gets_a_table_for_each_work() -> None:
    run = {
        "when": "2026-01-02 03:04",
        "machine": {"cpus": 2, "machine": "x", "kernel": "6"},
        "python": "3.11",
        "command": "make bench",
        "versions": {"ours": {"daphne": "4"}, "peers": {"redis": "8"}},
        "rows": two_systems().rows,
    }
    lines = markdown(run).splitlines()
    assert "daphne 4, redis 8." in lines
    assert "| **message-flow** | 20.0 | 10.0 … 90.0 | 1.00 |  | 0 |" in lines
    assert "| a <peer> | 40.0 | 20.0 … 180 | 2.00 | 0.70 | 3 |" in lines


def test_the_plot_is_xml_with_a_bar_for_each_system() -> None:
    svg = ElementTree.fromstring(draw(two_systems().rows))
    kinds = [bar.get("class") for bar in svg.iter("{http://www.w3.org/2000/svg}rect")]
    assert kinds == ["page", "ours", "peer"]
