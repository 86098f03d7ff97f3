"""Frames straight to Daphne's sockets, and when that is not safe (docs/node.md)."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from apps.realtime.node.direct import DirectSocket
from tests.unit.realtime.node.daphne import DaphneSocket


def found(daphne: DaphneSocket) -> DirectSocket:
    found = DirectSocket.behind(daphne.send)
    assert found is not None
    return found


def test_what_the_kernel_does_not_take_is_left_to_twisted_in_order() -> None:
    with DaphneSocket() as daphne:
        direct = found(daphne)
        sent = b""
        number = 0
        while not daphne.unsent:
            frame = f"{number:09d} ".encode() * 1_000
            direct.write(frame)
            sent += frame
            number += 1
        behind = daphne.unsent
        assert direct.unsent_bytes == behind
        writes = daphne.writes
        direct.write(b"the last")
        sent += b"the last"
        # Nothing may overtake what waits.
        assert daphne.writes == writes
        received = b""
        while len(received) < len(sent):
            received += daphne.read_all()
            daphne.flush()
        assert received == sent
        assert direct.unsent_bytes == 0
        direct.write(b"x")
        assert daphne.received == b"x"


def test_of_a_socket_that_is_gone_twisted_finds_out() -> None:
    with DaphneSocket() as daphne:
        direct = found(daphne)
        daphne.close_theirs()
        direct.write(b"a")
        assert direct.unsent_bytes == 1


def test_on_a_socket_that_is_closing_nothing_is_written() -> None:
    with DaphneSocket() as daphne:
        direct = found(daphne)
        daphne.protocol.state = 2
        direct.write(b"a")
        assert daphne.received == b""
        assert direct.unsent_bytes == 0


def test_after_twisted_has_lost_the_connection_nothing_is_written() -> None:
    with DaphneSocket() as daphne:
        direct = found(daphne)
        daphne.transport.connected = 0
        direct.write(b"a")
        assert daphne.received == b""
        assert direct.unsent_bytes == 0


@pytest.mark.parametrize(
    ("name", "value"), [("_perMessageCompress", object()), ("send_queue", [(b"a", False)]), ("state", 1)]
)
def test_a_socket_that_needs_autobahn_is_left_alone(name: str, value: Any) -> None:
    with DaphneSocket() as daphne:
        setattr(daphne.protocol, name, value)
        assert DirectSocket.behind(daphne.send) is None


@pytest.mark.parametrize("name", ["_perMessageCompress", "send_queue", "state", "STATE_OPEN"])
def test_an_autobahn_that_lacks_something_is_left_alone(name: str) -> None:
    with DaphneSocket() as daphne:
        delattr(daphne.protocol, name)
        assert DirectSocket.behind(daphne.send) is None


def test_tls_is_left_alone() -> None:
    with DaphneSocket() as daphne:
        daphne.protocol.transport = SimpleNamespace(transport=daphne.transport)
        assert DirectSocket.behind(daphne.send) is None
        daphne.protocol.transport = daphne.transport
        daphne.transport.TLS = True
        assert DirectSocket.behind(daphne.send) is None


async def test_another_server_is_left_alone() -> None:
    async def send(message: dict[str, Any]) -> None:
        """As uvicorn's."""

    assert DirectSocket.behind(send) is None
    assert DirectSocket.behind(partial(send, {})) is None
