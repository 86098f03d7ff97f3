"""Where a node is reached, and under which name (docs/doctor.md)."""

import socket
import time
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.realtime.management.doctor.door import BadUrl, Door, left


@pytest.fixture(autouse=True)
def _hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = [".example.org", "127.0.0.1"]


@pytest.mark.parametrize(
    ("url", "address", "origin"),
    [
        ("http://127.0.0.1:9101", ("127.0.0.1", 9101), "http://127.0.0.1:9101"),
        ("https://www.example.org/", ("www.example.org", 443), "https://www.example.org"),
        # A node has no name of the site's: it is asked under one.
        ("http://10.0.0.7:9101", ("10.0.0.7", 9101), "http://example.org"),
        ("http://[::1]", ("::1", 80), "http://example.org"),
        ("unix:/run/node.sock", "/run/node.sock", "http://example.org"),
    ],
)
def test_an_address(url: str, address: tuple[str, int] | str, origin: str) -> None:
    door = Door.at(url)
    assert (door.address, door.origin) == (address, origin)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:9101", "ws://h", "http://", "http://h:x", "http://h:99999", "http://u:p@h", "http://h/x", "unix:x"],
)
def test_no_address(url: str) -> None:
    with pytest.raises(BadUrl):
        Door.at(url)


def test_with_every_host_allowed_it_keeps_its_own(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert Door.at("http://10.0.0.7:9101").host == "10.0.0.7:9101"
    settings.ALLOWED_HOSTS = []
    assert Door.at("http://10.0.0.7:9101").host == "10.0.0.7:9101"


def test_it_connects_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        Door.at(f"unix:{path}").connect(time.monotonic() + 5).close()


def test_a_deadline_that_is_over() -> None:
    assert 4 < left(time.monotonic() + 5) <= 5
    with pytest.raises(TimeoutError):
        left(time.monotonic())
