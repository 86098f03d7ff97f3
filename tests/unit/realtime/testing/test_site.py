"""The node of a test (docs/testing.md)."""

import asyncio
import threading
from typing import Any

import pytest

from apps.realtime.core.names import ALL
from apps.realtime.models import Stream
from apps.realtime.testing.process import CapturingProcess
from apps.realtime.testing.site import Site


@pytest.fixture
def site() -> Any:
    site = Site(CapturingProcess())
    yield site
    site.close()


def test_the_first_tab_starts_it_without_a_broker_or_a_thread(site: Site, settings: Any) -> None:
    settings.REALTIME_AMQP_URL = "amqp://guest:guest@127.0.0.1:1/"
    settings.REALTIME_LOCAL_SOCKET = "/nowhere/socket"
    threads = threading.active_count()
    node = site.node
    assert site.node is node
    assert node.listener_problem is None
    assert threading.active_count() == threads


def test_without_a_tab_there_is_no_node_to_end() -> None:
    Site(CapturingProcess()).close()


@pytest.mark.django_db
def test_a_numbering_ends_and_the_node_knows(site: Site) -> None:
    site.end_numbering(ALL)
    first = Stream.objects.get(name=ALL).epoch
    node = site.node
    site.steps.call(asyncio.sleep(0))
    site.end_numbering(ALL)
    second = Stream.objects.get(name=ALL).epoch
    assert first != second
    assert node.hub.position(ALL).epoch == second
