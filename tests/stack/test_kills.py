"""Any one process of the stack, killed -9, is back, and so is an open socket (docs/stack.md)."""

import os
import signal
from collections.abc import Callable, Collection, Iterator

import pytest

from ops.services import wait_for
from tests.stack.checkout import Checkout, children_of
from tests.stack.follower import Follower

_BACK_SECS = 60

# How to find each kind of process; any of what is found stands for all.
VICTIMS: dict[str, Callable[[Checkout], Collection[int | None]]] = {
    "node-1": lambda stack: [stack.pid("ws:ws-1")],
    "node-2": lambda stack: [stack.pid("ws:ws-2")],
    "web-master": lambda stack: [stack.pid("web")],
    "web-worker": lambda stack: children_of(stack.pid("web")),
    "relay": lambda stack: [stack.pid("relay")],
    "nginx-master": lambda stack: [stack.pid("nginx")],
    "nginx-worker": lambda stack: children_of(stack.pid("nginx")),
    "postgres-postmaster": lambda stack: [stack.pid("postgres")],
    "postgres-child": lambda stack: children_of(stack.pid("postgres")),
    "rabbitmq-beam": lambda stack: [stack.pid("rabbitmq")],
    "rabbitmq-child": lambda stack: children_of(stack.pid("rabbitmq")),
    "epmd": lambda stack: [stack.pid("epmd")],
    "keeper": lambda stack: [stack.pid("keeper")],
    "supervisord": lambda stack: [stack.supervisord()],
}


@pytest.fixture(scope="module")
def follower(shaken: Checkout) -> Iterator[Follower]:
    """alice's socket, through all the kills."""
    with Follower(shaken.websocket, shaken.person("alice")) as follower:
        yield follower


@pytest.mark.parametrize("victim", VICTIMS)
def test_it_is_back_and_an_event_arrives(shaken: Checkout, follower: Follower, victim: str) -> None:
    find = VICTIMS[victim]
    follower.wait_online()
    pid = next(iter(find(shaken)))
    assert pid is not None, f"no {victim} runs"

    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: _is_back(find(shaken), pid), _BACK_SECS, f"{victim} is back", shaken.logs)
    shaken.wait_ready()
    follower.wait_online()
    shaken.notify("alice", f"after/{victim}")
    follower.wait_for_event(f"after/{victim}")


def _is_back(now: Collection[int | None], killed: int) -> bool:
    return len(now) > 0 and killed not in now and None not in now
