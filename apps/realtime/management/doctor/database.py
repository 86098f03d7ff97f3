"""The database: reachable, migrated, writable, and with the right time (docs/doctor.md)."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from ...conf import realtime_settings
from ...models import StoredEvent
from ...tokens import LEEWAY_SECS
from ...tracing import new_mid
from .findings import Finding, Status, fail, ok, one_line, warn
from .probe import PROBE_ID, PROBE_STREAM

WITHIN_SECS: Final = 15.0
# NTP keeps machines within a fraction of that.
CLOCK_SECS: Final = 1.0
_OURS: Final = "message_flow"


def look_at_database() -> Iterator[Finding]:
    """That of users and sign-ins, and that of durable events."""
    alias = realtime_settings().database
    for one in dict.fromkeys((DEFAULT_DB_ALIAS, alias)):
        try:
            took_secs = _answers(connections[one])
        except Exception as error:
            yield fail(
                f"{one!r} does not answer: {one_line(error)}",
                "see that it runs and that DATABASES has its address, user and password",
            )
            return
        yield ok(f"{one!r} is {_version(connections[one])}; it answers in {took_secs * 1000:.1f} ms")
        unapplied = False
        for finding in _migrations(connections[one]):
            unapplied |= finding.status is Status.FAIL
            yield finding
        if unapplied:
            return
    connection = connections[alias]
    yield _clock(connection)
    if connection.vendor == "postgresql":
        yield _isolation(connection)
    yield _writable(alias)


def _answers(connection: BaseDatabaseWrapper) -> float:
    connection.ensure_connection()
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return time.monotonic() - began


def _version(connection: BaseDatabaseWrapper) -> str:
    return f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"


def _migrations(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    alias = connection.alias
    loader = (executor := MigrationExecutor(connection)).loader
    missing = [migration for migration, _ in executor.migration_plan(loader.graph.leaf_nodes())]
    ours = [migration.name for migration in missing if migration.app_label == _OURS]
    # A database of events alone need not have the tables of other apps.
    others = len(missing) - len(ours) if alias == DEFAULT_DB_ALIAS else 0
    newer = sorted(name for app, name in loader.applied_migrations.keys() - loader.disk_migrations if app == _OURS)
    advice = f"run manage.py migrate --database {alias}"
    if ours:
        yield fail(f"migrations are not applied to {alias!r}: {', '.join(ours)}", advice)
    elif others:
        yield warn(f"migrations of other apps are not applied to {alias!r}: {others}", advice)
    if newer:
        yield warn(
            f"{alias!r} is of a newer release than this code: {', '.join(newer)}",
            "run the same release everywhere; two neighbouring ones go together for the time of an upgrade",
        )
    if not (ours or others or newer):
        yield ok(f"all migrations are applied to {alias!r}")


def _clock(connection: BaseDatabaseWrapper) -> Finding:
    """Leases, retention and the relay go by the database's clock, tokens by that of each process."""
    before = time.time()
    theirs = _database_time(connection)
    after = time.time()
    behind = (before + after) / 2 - theirs
    return clock_finding(f"the clock of {connection.alias!r}", behind)


def clock_finding(whose: str, behind_secs: float) -> Finding:
    """What to make of a clock that is so far behind this process's; a negative number is ahead."""
    off = f"{whose} is {abs(behind_secs):.1f} s {'behind' if behind_secs > 0 else 'ahead of'} this machine's"
    advice = "run an NTP client (chrony, systemd-timesyncd) on every machine: timedatectl shows it"
    if abs(behind_secs) > LEEWAY_SECS:
        return fail(f"{off}: fresh tokens are refused beyond {LEEWAY_SECS:.0f} s", advice)
    if abs(behind_secs) > CLOCK_SECS:
        return warn(off, advice)
    return ok(f"{whose} agrees with this machine's within {max(0.01, abs(behind_secs)):.2f} s")


def _database_time(connection: BaseDatabaseWrapper) -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp())"
            if connection.vendor == "postgresql"
            else "SELECT (julianday('now') - 2440587.5) * 86400"
        )
        [seconds] = cursor.fetchone()
    return float(seconds)


def _isolation(connection: BaseDatabaseWrapper) -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        [level] = cursor.fetchone()
    if level == "read committed":
        return ok("transactions are isolated as read committed")
    return warn(
        f"transactions are isolated as {level}: the relay's and the inbox's fail where two meet, and are tried again",
        "leave OPTIONS['isolation_level'] and default_transaction_isolation at read committed",
    )


def _writable(alias: str) -> Finding:
    """An event is stored and rolled back."""
    try:
        with suppress(_Undo), transaction.atomic(using=alias):
            StoredEvent.objects.using(alias).create(stream=PROBE_STREAM, mid=new_mid(), event_id=PROBE_ID, frame="{}")
            raise _Undo
    except Exception as error:
        return fail(
            f"an event cannot be stored: {one_line(error)}",
            "the site's database user must be able to write, on a primary whose disk is not full",
        )
    return ok("events can be stored")


class _Undo(Exception):
    """Rolls back what was only tried."""
