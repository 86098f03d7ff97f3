"""realtime.js against a server, a network and snapshots by chance: the page ends with the server's state."""

from collections import Counter
from typing import Any, Final

from .bench import ClientBench

# 300 runs of 400 steps take 4 s. A seed that fails fails again.
RUNS: Final = 300
STEPS: Final = 400

_RUN: Final = """async ([seed, steps]) => {
    const { connect } = await import("/js/realtime.js");
    const { run } = await import("/random_server.js");
    return await run(connect, seed, steps);
}"""


def test_whatever_happens_the_page_ends_with_the_servers_state(bench: ClientBench) -> None:
    errors: list[str] = []
    bench.page.on("pageerror", lambda error: errors.append(error.message))
    counts: Counter[str] = Counter()
    for seed in range(RUNS):
        outcome: dict[str, Any] = bench.page.evaluate(_RUN, [seed, STEPS])
        assert outcome["faults"] == [], f"seed {seed}"
        assert errors == [], f"seed {seed}: a server by the protocol was taken for a broken one"
        counts.update(outcome["counts"])
    # The chance was used: none of the ways lies fallow.
    assert min(counts[what] for what in ("applied", "replayed", "gaps", "snapshots")) >= RUNS, counts
