"""One machine for the run. These tests build on each other, in the order in which they stand (`make test-systemd`)."""

import os
import socket
from collections.abc import Iterator

import pytest

from ops.services import wait_for
from tests.services.rigs.people import Person
from tests.stack.follower import Follower
from tests.systemd.machine import FOLDER, Machine

PASSWORD = "a-password-of-this-test"
SITE = "https://localhost"

# A user, and an article that is news.
_FILL = f"""
from django.contrib.auth.models import User
from apps.demo.models import Article
Article.objects.create(author=User.objects.create_user("alice", password="{PASSWORD}"), title="New", body="Well.")
"""


@pytest.fixture(scope="session")
def bare() -> Iterator[Machine]:
    """A Debian 12 with nothing on it but a checkout."""
    if not (FOLDER / "base").exists() or [name for _, name in socket.if_nameindex()] != ["lo"]:
        pytest.skip("needs a tree and a network of its own: make test-systemd")
    machine = Machine()
    yield machine
    machine.stop()


@pytest.fixture(scope="session")
def server(bare: Machine) -> Machine:
    """The same, set up."""
    bare.run("/root/checkout/ops/install", "localhost")
    # From here on the made-up certificate is one that we trust.
    os.environ["SSL_CERT_FILE"] = str(bare.tree / "etc/message-flow/certificate.pem")
    bare.run("/opt/message-flow/current/ops/manage", "shell", "--command", _FILL)
    return bare


@pytest.fixture(scope="session")
def alice(server: Machine) -> Person:
    """Signed in through nginx. Each worker of gunicorn needs a moment to reach the broker."""
    anybody = Person(SITE)
    wait_for(lambda: anybody.get("/readyz").status == 200, 60, "the site is ready")
    return Person.signed_in(SITE, "alice", PASSWORD)


@pytest.fixture(scope="session")
def follower(alice: Person) -> Iterator[Follower]:
    """Her socket, through all that happens."""
    with Follower("wss://localhost/websocket", alice) as follower:
        follower.wait_online()
        yield follower
