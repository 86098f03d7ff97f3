"""What one relay numbers, publishes and writes down as confirmed in a second: `python -m bench.relay` (docs/relay.md).

On a PostgreSQL (fsync on) and a RabbitMQ of its own, with what a killed process would have left in 1 and in 1,000
streams.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from ops.services import Postgres, RabbitMQ

STREAMS = (1, 1_000)
DEADLINE_SECS = 600.0
_FRAME = '{"id":"x","data":"' + "x" * 160 + '"}'


def main() -> None:
    """Store, relay, and print the rates."""
    parser = argparse.ArgumentParser(prog="bench.relay", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="of each run")
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory(prefix="bench-relay-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        database, broker = Postgres(folder / "postgres"), RabbitMQ(folder / "rabbitmq")
        for server in (database, broker):
            server.prepare()
        try:
            for server in (database, broker):
                server.start()
            for server in (database, broker):
                server.wait_ready()
            _measure(database, broker, events)
        finally:
            database.stop()
            broker.close()


def _measure(database: Postgres, broker: RabbitMQ, events: int) -> None:
    os.environ.update(DEMO="1", DEBUG="0", DJANGO_SETTINGS_MODULE="project.settings", LOG_LEVEL="WARNING")
    os.environ.update(DATABASE_URL=database.createdb("bench"), AMQP_URL=broker.url())
    # The rows of a run with one stream are more than a stream usually keeps: pruning is not what is measured.
    os.environ.update(REALTIME_HISTORY_MAX_EVENTS="1000000")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from django.db import connection

    from apps.realtime.conf import realtime_settings
    from apps.realtime.publishing.process import publishing_process
    from apps.realtime.publishing.relay import Relay

    for streams in STREAMS:
        database.sql(
            "INSERT INTO message_flow_storedevent (stream, mid, event_id, frame, created_at) "  # noqa: S608
            f"SELECT 'user.{streams}-' || number % {streams}, 'm', 'x', '{_FRAME}', now() - interval '1 minute' "
            f"FROM generate_series(1, {events}) AS number",
            "bench",
        )
        database.sql("VACUUM ANALYZE", "bench")
        relay = Relay(realtime_settings(), publishing_process().publisher)
        began = time.perf_counter()
        problem = relay.run_once(DEADLINE_SECS)
        took = time.perf_counter() - began
        assert problem is None, problem
        print(f"{events:,} events in {streams:,} streams: {took:.1f} s, {events / took:,.0f} a second", flush=True)
    publishing_process().publisher.close(1.0)
    connection.close()


if __name__ == "__main__":
    main()
