"""The test helpers on PostgreSQL, in a transaction that never commits (docs/testing.md)."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.utils import timezone
from pytest_django.plugin import DjangoDbBlocker

from apps.realtime import notify, push
from apps.realtime.history import deployment_epoch
from apps.realtime.models import StoredEvent
from apps.realtime.testing import capture_events
from tests.services.rigs.database import library_database

LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def postgresql(database_url: str, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The library's database, in the transaction that a TestCase would open there."""
    with django_db_blocker.unblock(), library_database(database_url) as alias:
        deployment_epoch()
        block = transaction.atomic(using=alias)
        block._from_testcase = True  # type: ignore[attr-defined]
        with block:
            yield alias
            transaction.set_rollback(True, using=alias)
        assert not StoredEvent.objects.using(alias).exists()


@pytest.mark.django_db
def test_a_test_on_postgresql(postgresql: str) -> None:
    alice = User.objects.create_user("alice")
    with capture_events() as captured, captured.browser(alice) as tab:
        with transaction.atomic(using=postgresql):
            notify(alice, "n", 1)
            with transaction.atomic(using=postgresql):
                notify(alice, "rolled/BACK")
                push(alice, "rolled/BACK", using=postgresql)
                transaction.set_rollback(True, using=postgresql)
        assert tab.receive("n")["seq"] == 1
        with tab.offline():
            notify(alice, "n", 2)
            notify(alice, "n", 3, at=timezone.now() + timedelta(days=1))
            captured.fire_scheduled(until=timezone.now() + timedelta(days=2))
        assert [frame["data"] for frame in tab.frames] == [1, 2, 3]
        captured.force_gap(alice)
        assert tab.receive("GAP")["data"]["reason"] == "epoch"
        captured.assert_not_notified(alice, "rolled/BACK")
    # A debugger may stop the rest of this test for as long as it likes.
    with connections[postgresql].cursor() as cursor:
        for limit in LIMITS:
            cursor.execute(f"SHOW {limit}")
            assert cursor.fetchone() == ("0",), limit
