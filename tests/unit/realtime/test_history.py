"""Where streams stand, read in one query (docs/history.md)."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.realtime.core.names import ALL, user_stream
from apps.realtime.core.resume import Head
from apps.realtime.history import deployment_epoch, heads
from apps.realtime.models import Deployment, Stream

pytestmark = pytest.mark.django_db
ALICE, BOB = user_stream("1"), user_stream("2")


def test_a_stream_without_a_row_stands_at_the_deployments_epoch() -> None:
    Stream.objects.create(name=ALICE, epoch="e1", head=7, floor=2)
    epoch = deployment_epoch()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert heads([ALICE, BOB, ALL]) == {ALICE: Head("e1", 7, 2), BOB: Head(epoch, 0, 0), ALL: Head(epoch, 0, 0)}
    assert len(queries) == 1


def test_the_deployments_epoch_is_made_once() -> None:
    assert heads([BOB])[BOB].epoch == deployment_epoch() == Deployment.objects.get().epoch
    assert heads([]) == {}
