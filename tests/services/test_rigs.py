"""The tests' own tools: what they say they do, they do (docs/stack.md)."""

import asyncio
import gc
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from ops.services import Postgres, RabbitMQ
from ops.services.ports import LOOPBACK
from tests.services.rigs.clients import Dialect, Tab
from tests.services.rigs.proxy import TcpProxy
from tests.services.rigs.site import PASSWORD, Node, Site

DEADLINE_SECS = 5.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.settimeout(DEADLINE_SECS)
        with suppress(ConnectionError):
            while data := self.request.recv(100):
                self.request.sendall(data)


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that says what it hears. It ends with its last connection: the proxy before it has to be closed."""
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class TestTcpProxy:
    async def test_passes_on_and_cuts(self, echo_port: int, proxy: Callable[[int], TcpProxy]) -> None:
        tcp = proxy(echo_port)
        reader, writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"

        await asyncio.to_thread(tcp.cut)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), DEADLINE_SECS)
        writer.close()

        reader, writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        assert tcp.accepted == 2
        writer.close()
        await writer.wait_closed()

    async def test_refuses_until_restored(self, echo_port: int, proxy: Callable[[int], TcpProxy]) -> None:
        tcp = proxy(echo_port)
        await asyncio.to_thread(tcp.refuse)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, tcp.port)
        await asyncio.to_thread(tcp.restore)
        _, writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        writer.close()
        await writer.wait_closed()

    async def test_a_black_hole_is_silent_and_loses_nothing(
        self, echo_port: int, proxy: Callable[[int], TcpProxy]
    ) -> None:
        tcp = proxy(echo_port)
        reader, writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        await asyncio.to_thread(tcp.black_hole)
        _, late_writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        writer.write(b"into the dark")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        await asyncio.to_thread(tcp.restore)
        assert await asyncio.wait_for(reader.readexactly(13), DEADLINE_SECS) == b"into the dark"
        for each in (writer, late_writer):
            each.close()
            await each.wait_closed()

    async def test_a_bad_network_is_slow_and_loses_nothing(
        self, echo_port: int, proxy: Callable[[int], TcpProxy]
    ) -> None:
        tcp = proxy(echo_port)
        reader, writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        # 100 bytes there and back at 2,000 a second, and on each way every resend that TCP would wait for.
        await asyncio.to_thread(tcp.slow_down, 2_000, 0.0)
        before = time.monotonic()
        writer.write(b"x" * 100)
        assert await asyncio.wait_for(reader.readexactly(100), DEADLINE_SECS) == b"x" * 100
        assert time.monotonic() - before > 0.09
        assert tcp.stalls == 0
        await asyncio.to_thread(tcp.slow_down, 2_000, 1.0)
        writer.write(b"y")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)
        assert tcp.stalls > 0
        writer.close()

    async def test_a_half_open_connection_stays_dead_and_new_ones_live(
        self, echo_port: int, proxy: Callable[[int], TcpProxy]
    ) -> None:
        tcp = proxy(echo_port)
        dead, dead_writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        await asyncio.to_thread(tcp.half_open)
        dead_writer.write(b"into the dark")
        reader, writer = await asyncio.open_connection(LOOPBACK, tcp.port)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), DEADLINE_SECS) == b"hello"
        await asyncio.to_thread(tcp.restore)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(dead.read(1), 0.3)
        for each in (dead_writer, writer):
            each.close()
            await each.wait_closed()

    @pytest.mark.parametrize("end", [TcpProxy.cut, TcpProxy.refuse, TcpProxy.close])
    def test_nothing_is_left_of_a_connection_that_it_was_about_to_accept(
        self, end: Callable[[TcpProxy], None], echo_port: int, proxy: Callable[[int], TcpProxy]
    ) -> None:
        for _ in range(20):
            tcp = proxy(echo_port)
            with socket.create_connection((LOOPBACK, tcp.port), timeout=DEADLINE_SECS) as connection:
                end(tcp)
                with suppress(ConnectionError):
                    assert connection.recv(1) == b""
            tcp.close()
        gc.collect()  # a transport left behind is a warning, which fails the test


def test_postgres_survives_a_crash_and_serves_copies_of_a_database(postgres: Postgres) -> None:
    postgres.createdb("original")
    postgres.sql("CREATE TABLE kept (number serial, value int); INSERT INTO kept (value) VALUES (42)", "original")
    postgres.createdb("copied", template="original")
    postgres.sql("INSERT INTO kept (value) VALUES (43)", "copied")
    postgres.kill9()
    assert not postgres.is_ready()
    postgres.start()
    postgres.wait_ready()
    postgres.sql("INSERT INTO kept (value) VALUES (44)", "copied")
    assert postgres.sql("SELECT value FROM kept ORDER BY number", "copied").split() == ["42", "43", "44"]
    assert postgres.sql("SELECT count(DISTINCT number) FROM kept", "copied").strip() == "3"
    postgres.dropdb("copied")
    postgres.dropdb("original")


def test_rabbitmq_is_back_after_a_crash_and_keeps_its_virtual_hosts(broker: RabbitMQ, vhost: str) -> None:
    pid = broker.pid
    broker.kill9()
    assert not broker.is_ready()
    broker.start()
    broker.wait_ready()
    assert broker.pid != pid
    assert vhost in broker.ctl("list_vhosts").split()


async def test_one_event_reaches_the_tabs_of_both_nodes(site: Site, node: Callable[[int], list[Node]]) -> None:
    nodes = node(2)
    alice = nodes[0].person("alice", PASSWORD)
    dialects: tuple[Dialect, ...] = ("seed", "v1")
    tabs = [await Tab.open(node.websocket, alice.token, dialect=dialect) for node in nodes for dialect in dialects]
    await asyncio.to_thread(
        site.manage, "realtime", "publish", "--user", "alice", "--id", "a/RIG", "--data", '{"n": 1}'
    )
    for tab in tabs:
        event = await tab.wait_for_event("a/RIG")
        assert event["data"] == {"n": 1}
        await tab.close()


def test_a_shell_runs_each_program_in_a_process_of_its_own(site: Site) -> None:
    report = "import atexit, os, sys; print(os.getpid(), 'seen' in vars(sys)); sys.seen = True"
    ended = "atexit.register(print, 'at the exit', flush=True)"
    first, second = (site.shell(f"{report}; {ended}").split(maxsplit=2) for _ in range(2))
    assert first[0] != second[0]
    assert first[1:] == second[1:] == ["False", "at the exit\n"]
    with pytest.raises(AssertionError, match=r"(?s)^1: .*ZeroDivisionError"):
        site.shell("1 / 0")
    with pytest.raises(AssertionError, match="more than 1 s"):
        site.shell("import time; time.sleep(60)", timeout_secs=1)
    assert site.shell("print(1)") == "1\n"
