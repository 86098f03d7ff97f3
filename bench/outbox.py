"""How fast events are numbered and confirmed, and what `notify` adds to a request: `python -m bench.outbox`.

Starts a PostgreSQL, fsync on, and a RabbitMQ of its own (docs/publishing.md).
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from ops.services import Postgres, RabbitMQ

EVENTS = 20_000
ROUNDS = 3
REQUESTS = 1_000
VHOST = "bench"


def rate(streams: int) -> float:
    """Events a second, from rows that wait to rows that are confirmed."""
    from django.core.serializers.json import DjangoJSONEncoder

    from apps.realtime.core.events import EventTemplate
    from apps.realtime.core.names import user_stream
    from apps.realtime.models import StoredEvent
    from apps.realtime.publishing.process import publishing_process

    names = [user_stream(str(number)) for number in range(streams)]
    template = EventTemplate("bench/EVENT", {"text": "x" * 100}, DjangoJSONEncoder)
    StoredEvent.objects.bulk_create(
        StoredEvent(
            stream=name, mid="m", event_id="bench/EVENT", frame=template.for_stream(name, mid="m", ts=1.0).frame
        )
        for name in (names[number % streams] for number in range(EVENTS))
    )
    outbox = publishing_process().outbox
    began = time.perf_counter()
    outbox.wake(names)
    assert outbox.flush(600)
    secs = time.perf_counter() - began
    assert not StoredEvent.objects.filter(confirmed_at=None).exists()
    return EVENTS / secs


def cost() -> tuple[float, float, float]:
    """Seconds of a bare INSERT, of `notify`, and of the commit after it: medians in the same transactions."""
    from django.contrib.auth.models import User
    from django.db import connection, transaction
    from django.utils import timezone

    from apps.realtime import notify
    from apps.realtime.models import SignIn
    from apps.realtime.publishing.process import publishing_process

    user = User.objects.create(username="bench")
    bare, notified, committed = [], [], []
    for number in range(REQUESTS):
        with transaction.atomic():
            began = time.perf_counter()
            SignIn.objects.create(mark=f"bench-{number}", user_id="1", seen_at=timezone.now())
            inserted = time.perf_counter()
            notify(user, "bench/EVENT", {"text": "x" * 100})
            ended = time.perf_counter()
        bare.append(inserted - began)
        notified.append(ended - inserted)
        committed.append(time.perf_counter() - ended)
    assert publishing_process().outbox.flush(60)
    connection.close()
    return statistics.median(bare), statistics.median(notified), statistics.median(committed)


def many() -> float:
    """Seconds of one `notify` to 10,000 users, with its commit."""
    from django.contrib.auth.models import User

    from apps.realtime import notify
    from apps.realtime.publishing.process import publishing_process

    User.objects.bulk_create(User(username=f"user{number}") for number in range(10_000))
    users = list(User.objects.all()[:10_000])
    began = time.perf_counter()
    notify(users, "bench/EVENT", {"text": "x" * 100})
    secs = time.perf_counter() - began
    assert publishing_process().outbox.flush(600)
    return secs


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        postgres, rabbitmq = Postgres(Path(folder) / "postgres"), RabbitMQ(Path(folder) / "rabbitmq")
        postgres.prepare()
        rabbitmq.prepare()
        try:
            postgres.start()
            rabbitmq.start()
            postgres.wait_ready()
            rabbitmq.wait_ready()
            rabbitmq.add_vhost(VHOST)
            _measure(postgres.createdb("bench"), rabbitmq.url(VHOST))
        finally:
            rabbitmq.close()
            postgres.stop()


def _measure(database_url: str, amqp_url: str) -> None:
    os.environ.update(
        DJANGO_SETTINGS_MODULE="project.settings",
        DEMO="1",
        SECRET_KEY="x" * 50,
        DATABASE_URL=database_url,
        AMQP_URL=amqp_url,
        LOG_LEVEL="WARNING",
    )
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0, interactive=False)
    print(f"{EVENTS} events, numbered and confirmed, fsync on; each of {ROUNDS} rounds:")
    for streams in (1, 1_000):
        rates = ", ".join(f"{rate(streams):,.0f}" for _ in range(ROUNDS))
        print(f"  {streams:5} streams: {rates} events/s", flush=True)
    bare, notified, committed = cost()
    print(f"in a transaction, medians of {REQUESTS}, while the outbox works beside it:")
    print(f"  INSERT by the ORM {bare * 1e6:.0f} µs, notify {notified * 1e6:.0f} µs ({notified / bare:.2f} of it)")
    print(f"  commit of both {committed * 1e6:.0f} µs")
    print(f"notify to 10,000 users in one call, with its commit: {many():.2f} s")
    connection.close()


if __name__ == "__main__":
    main()
