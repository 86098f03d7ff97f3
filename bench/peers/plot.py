"""Bars of the main figures as an SVG that can be read on light and on dark pages (docs/performance.md)."""

from typing import Any, Final
from xml.sax.saxutils import escape

from bench.peers.results import OURS

# What is drawn, where a run has it.
_PANELS: Final = (
    ("broadcast paced", "cpu_us_per_delivery", "Broadcast, paced: µs of CPU per delivery"),
    ("broadcast flat out", "cpu_us_per_delivery", "Broadcast, flat out: µs of CPU per delivery"),
    ("unicast paced", "cpu_us_per_delivery", "Unicast, paced: µs of CPU per delivery"),
    ("unicast flat out", "cpu_us_per_delivery", "Unicast, flat out: µs of CPU per delivery"),
    ("connect", "cpu_us_per_connect", "Connect and authenticate: µs of CPU"),
    ("memory", "rss_kib_per_connection", "Memory of an idle connection: KiB"),
)
_COLUMNS: Final = 2
_WIDTH: Final = 460
_LABEL: Final = 212
_BAR: Final = 170
_ROW: Final = 19
_HEAD: Final = 34
# By the beginning of a name: ours in every setting, and the floors.
_KINDS: Final = {OURS: "ours", "floor": "floor"}
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.page { fill: #ffffff }
.title { font-weight: 600 }
.ours { fill: #d9480f } .peer { fill: #4c78a8 } .floor { fill: #9aa4ae }
.spread { stroke: #1f2328; stroke-width: 1.2 }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 } text { fill: #e6edf3 } .spread { stroke: #e6edf3 }
  .ours { fill: #ff8a4c } .peer { fill: #79a8d9 } .floor { fill: #6b7681 }
}
""".replace("\n", " ").strip()

Row = dict[str, Any]


def draw(rows: list[Row]) -> str:
    """The SVG: a panel for each work, a bar for each system, its spread as a line."""
    panels = []
    for work, metric, title in _PANELS:
        found = [row for row in rows if row["work"] == work and row["metric"] == metric]
        if found:
            panels.append((title, sorted(found, key=lambda row: row["median"])))
    body: list[str] = []
    top = 0
    for first in range(0, len(panels), _COLUMNS):
        line = panels[first : first + _COLUMNS]
        for column, (title, found) in enumerate(line):
            body += _panel(column * _WIDTH, top, title, found)
        top += _HEAD + _ROW * max(len(found) for _, found in line) + 14
    size = f'width="{_COLUMNS * _WIDTH}" height="{top}" viewBox="0 0 {_COLUMNS * _WIDTH} {top}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<style>{_STYLE}</style>",
            # A page may be dark where the reader's system is light.
            '<rect class="page" width="100%" height="100%"/>',
            *body,
            "</svg>\n",
        ]
    )


def _panel(left: int, top: int, title: str, rows: list[Row]) -> list[str]:
    # One that is far off would make all others invisible: it is cut, and its figure stands beside it.
    scale = min(max(row["max"] for row in rows), 6 * sorted(row["median"] for row in rows)[len(rows) // 2])
    lines = [f'<text class="title" x="{left + 8}" y="{top + 20}">{escape(title)}</text>']
    for number, row in enumerate(rows):
        y = top + _HEAD + number * _ROW
        kind = next((kind for begin, kind in _KINDS.items() if row["system"].startswith(begin)), "peer")
        low, middle, high = (min(row[key] / scale, 1) * _BAR for key in ("min", "median", "max"))
        x, centre = left + _LABEL, y + 7
        weight = ' class="title"' if row["system"] == OURS else ""
        lines += [
            f'<text{weight} x="{x - 6}" y="{y + 11}" text-anchor="end">{escape(row["system"])}</text>',
            f'<rect class="{kind}" x="{x}" y="{y + 1}" width="{max(middle, 1):.1f}" height="12" rx="2"/>',
            f'<path class="spread" d="M{x + low:.1f} {centre}H{x + high:.1f}"/>',
            f'<text x="{x + max(middle, high) + 5:.1f}" y="{y + 11}">{_number(row["median"])}</text>',
        ]
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
