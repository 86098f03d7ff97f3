"""What systemd hears of a process (docs/operations.md)."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.realtime.systemd import Systemd
from tests.unit.systemd import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def test_it_says_that_it_is_ready_and_that_it_lives(manager: Manager) -> None:
    systemd = Systemd(manager.environment(watchdog_secs=30))
    assert systemd.ping_secs == 10
    systemd.ready()
    systemd.alive()
    assert manager.everything() == ["READY=1", "WATCHDOG=1"]


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "30000000"}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}],
)
def test_where_nobody_waits_for_signs_of_life_it_gives_none(manager: Manager, watchdog: dict[str, str]) -> None:
    assert os.getpid() != 1
    systemd = Systemd(manager.environment() | watchdog)
    assert systemd.ping_secs is None
    systemd.ready()
    systemd.alive()
    assert manager.everything() == ["READY=1"]


def test_without_systemd_it_is_silent() -> None:
    systemd = Systemd({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())})
    assert systemd.ping_secs is None
    systemd.ready()
    systemd.alive()


def test_a_name_may_be_an_abstract_one() -> None:
    name = f"message-flow-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listening.recv(100, socket.MSG_DONTWAIT) == b"READY=1"


def test_a_manager_that_is_gone_or_busy_stops_nothing(manager: Manager) -> None:
    systemd = Systemd(manager.environment(watchdog_secs=30))
    # Nobody reads: the queue of the socket is full after some of them.
    for _ in range(2_000):
        systemd.alive()
    assert 0 < len(manager.everything()) < 2_000
    manager.close()
    systemd.alive()
