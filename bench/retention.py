"""Pruning on a table of a million rows while events flow: `python -m bench.retention` (docs/relay.md).

Starts a PostgreSQL of its own, fsync on, fills it with 1,000 streams of 1,000 events, and then halves what is kept.
"""

import argparse
import os
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path

from ops.services import Postgres

STREAMS = 1_000
FLOW_EVERY_SECS = 0.005
FLOW_SECS = 10.0


class Flow:
    """Events that are stored and numbered one by one, each as if by a request, in a thread.

    Attributes:
        secs: how long each numbering took.
    """

    def __init__(self) -> None:
        self.secs: list[float] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Flow":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        from django.db import connection

        from apps.realtime.core.names import user_stream
        from apps.realtime.models import StoredEvent
        from apps.realtime.publishing.sequencer import number

        while not self._ending.wait(FLOW_EVERY_SECS):
            stream = user_stream(str(random.randint(1, STREAMS)))  # noqa: S311 - spreads load
            StoredEvent.objects.create(stream=stream, mid="m", event_id="x", frame=_FRAME)
            began = time.perf_counter()
            number([stream])
            self.secs.append(time.perf_counter() - began)
        connection.close()

    def summary(self) -> str:
        """Rate and times, for people."""
        times = sorted(self.secs)
        percentile = times[int(len(times) * 0.99)]
        return (
            f"{len(times)} events numbered, median {statistics.median(times) * 1000:.1f} ms, "
            f"99th of 100 {percentile * 1000:.1f} ms, longest {times[-1] * 1000:.0f} ms"
        )


_FRAME = '{"id":"x","data":"' + "x" * 160 + '"}'


def main() -> None:
    """Fill, let events flow, prune, and print what it took."""
    parser = argparse.ArgumentParser(prog="bench.retention", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="bench-retention-") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "postgres")
        server.prepare()
        server.start()
        server.wait_ready()
        try:
            _measure(server, server.createdb("bench"), rows // STREAMS)
        finally:
            server.stop()


def _measure(server: Postgres, url: str, each: int) -> None:
    os.environ.update(DEMO="1", DEBUG="0", DATABASE_URL=url, AMQP_URL="", DJANGO_SETTINGS_MODULE="project.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from django.db import connection

    began = time.perf_counter()
    server.sql(
        "INSERT INTO message_flow_storedevent (stream, epoch, seq, mid, event_id, frame, confirmed_at) "  # noqa: S608
        f"SELECT 'user.' || stream, 'e1', seq, 'm', 'x', '{_FRAME}', now() "
        f"FROM generate_series(1, {each}) AS seq, generate_series(1, {STREAMS}) AS stream",
        "bench",
    )
    server.sql(
        "INSERT INTO message_flow_stream (name, epoch, head, floor) "  # noqa: S608
        f"SELECT 'user.' || stream, 'e1', {each}, 0 FROM generate_series(1, {STREAMS}) AS stream",
        "bench",
    )
    server.sql("VACUUM ANALYZE", "bench")
    _say(f"{each * STREAMS:,} rows in {STREAMS:,} streams ({time.perf_counter() - began:.0f} s to fill)")
    try:
        _prune(each)
    finally:
        connection.close()


def _prune(each: int) -> None:
    from dataclasses import replace

    from django.db.models import Sum

    from apps.realtime.conf import realtime_settings
    from apps.realtime.models import Stream
    from apps.realtime.publishing.retention import Pruner

    def turns(pruner: Pruner) -> list[float]:
        """How long each turn of one walk took."""
        secs = []
        while True:
            began = time.perf_counter()
            pruner.turn()
            secs.append(time.perf_counter() - began)
            if pruner.walked:
                return secs

    conf = realtime_settings()
    idle = Pruner(replace(conf, history_max_events=each * 2))
    turns(idle)
    _say(f"a walk over {STREAMS:,} streams with nothing to trim: {sum(turns(idle)) * 1000:.0f} ms")
    with Flow() as flow:
        time.sleep(FLOW_SECS)
    _say(f"without pruning: {flow.summary()}")
    with Flow() as flow:
        began = time.perf_counter()
        secs = turns(Pruner(replace(conf, history_max_events=each // 2)))
        took = time.perf_counter() - began
    gone = Stream.objects.aggregate(gone=Sum("floor"))["gone"]
    _say(f"while pruning:   {flow.summary()}")
    _say(f"pruned {gone:,} rows in {took:.1f} s: {gone / took:,.0f} a second; longest turn {max(secs) * 1000:.0f} ms")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
