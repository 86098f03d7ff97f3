"""The nodes that the security tests attack, started once for the run (docs/security.md).

A plugin and no conftest, so that a run without these tests starts none of it: a module asks for it by `pytest_plugins`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ops.services import Postgres, RabbitMQ
from tests.services.rigs.people import Person
from tests.services.rigs.site import Node
from tests.services.rigs.target import Target, open_target


@pytest.fixture(scope="session")
def target(
    tmp_path_factory: pytest.TempPathFactory,
    rabbitmq: RabbitMQ,
    postgres: Postgres,
    _migrated: str,
    _static_root: Path,
) -> Iterator[Target]:
    """The site; at its end no token that anybody ever had may stand in a log."""
    with open_target(tmp_path_factory.mktemp("target"), rabbitmq, postgres, _migrated, _static_root) as opened:
        yield opened
        logs = opened.site.logs()
        assert not [token for token in opened.tokens if token in logs]


@pytest.fixture(scope="session")
def victim(target: Target) -> Node:
    """A node with the settings that a site starts with."""
    return target.site.node()


@pytest.fixture(scope="session")
def alice(target: Target, victim: Node) -> Person:
    """The honest user, signed in."""
    return target.person(victim, "alice")


@pytest.fixture
async def healthy_afterwards(target: Target, victim: Node, alice: Person) -> AsyncIterator[None]:
    """Whatever the test did to the victim: it is ready, and an event reaches an honest tab."""
    yield
    await target.assert_healthy(victim, target.token(alice))


@pytest.fixture(scope="session")
def hurried(target: Target) -> Node:
    """A node with little patience that lets any flood in, and few tabs of one user."""
    return target.site.node(
        {
            "REALTIME_AUTH_TIMEOUT_SECS": "4",
            "REALTIME_CONNECTS_PER_ADDRESS_PER_SEC": "1000",
            "REALTIME_MAX_SOCKETS_PER_USER": "3",
        }
    )


@pytest.fixture(scope="session")
def narrow(target: Target) -> Node:
    """A node with few places: 5 sockets an address, and 1 handshake a second, 10 at once."""
    return target.site.node({"REALTIME_MAX_SOCKETS_PER_ADDRESS": "5", "REALTIME_CONNECTS_PER_ADDRESS_PER_SEC": "1"})
