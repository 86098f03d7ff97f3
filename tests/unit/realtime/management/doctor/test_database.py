"""The database as the doctor sees it; PostgreSQL's part is tests/services/test_doctor.py (docs/doctor.md)."""

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from apps.realtime.management.doctor import database as module
from apps.realtime.management.doctor.database import clock_finding, look_at_database
from apps.realtime.management.doctor.findings import Status
from apps.realtime.models import StoredEvent

pytestmark = pytest.mark.django_db


def found() -> list[tuple[Status, str]]:
    return [(finding.status, finding.found) for finding in look_at_database()]


def test_a_database_that_is_as_it_should_be() -> None:
    told = found()
    assert {status for status, _ in told} == {Status.OK}
    texts = "\n".join(text for _, text in told)
    assert "'default' is SQLite 3." in texts
    assert "all migrations are applied" in texts
    assert "agrees with this machine's" in texts
    assert "events can be stored" in texts
    assert not StoredEvent.objects.exists()


def test_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError('connection to server at "db", port 5432 failed:\n Connection refused')

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    [(status, text)] = found()
    assert status is Status.FAIL
    assert text == (
        "'default' does not answer: OperationalError: "
        'connection to server at "db", port 5432 failed: Connection refused'
    )


def test_migrations_that_are_not_applied_fail_ours_and_warn_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    applied = MigrationRecorder.Migration.objects
    applied.filter(app="demo").delete()
    _, (status, text), *_ = found()
    assert (status, text.partition(":")[0]) == (
        Status.WARN,
        "migrations of other apps are not applied to 'default'",
    )
    with monkeypatch.context() as patch:
        # A database of events alone need not have them.
        patch.setattr(module, "DEFAULT_DB_ALIAS", "another")
        assert [finding.status for finding in module._migrations(connection)] == [Status.OK]
    applied.filter(app="message_flow").exclude(name="0001_sign_in").delete()
    [_, (status, text)] = found()
    assert status is Status.FAIL
    assert "0002_durable_events, 0003_sign_in_password" in text


def test_a_database_of_a_newer_release() -> None:
    MigrationRecorder.Migration.objects.create(app="message_flow", name="9999_of_tomorrow")
    _, (status, text), *_ = found()
    assert (status, "9999_of_tomorrow" in text) == (Status.WARN, True)


def test_one_that_cannot_be_written() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
        try:
            *_, (status, text) = found()
        finally:
            cursor.execute("PRAGMA query_only = OFF")
    assert status is Status.FAIL
    assert "readonly" in text


@pytest.mark.parametrize(
    ("behind_secs", "status", "told"),
    [
        (0.0, Status.OK, "it agrees with this machine's within 0.01 s"),
        (-0.5, Status.OK, "it agrees with this machine's within 0.50 s"),
        (1.5, Status.WARN, "it is 1.5 s behind this machine's"),
        (-3, Status.WARN, "it is 3.0 s ahead of this machine's"),
        (601, Status.FAIL, "it is 601.0 s behind this machine's: fresh tokens are refused beyond 10 s"),
    ],
)
def test_what_to_make_of_a_clock(behind_secs: float, status: Status, told: str) -> None:
    finding = clock_finding("it", behind_secs)
    assert (finding.status, finding.found) == (status, told)
