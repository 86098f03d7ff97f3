"""A cluster of three RabbitMQ hosts on this machine (docs/brokers.md, "A cluster of three")."""

import secrets
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ops.services.ports import LOOPBACK
from ops.services.rabbitmq import RabbitMQ
from ops.services.waiting import wait_for

SIZE = 3

_WHOLE = (
    f"[] == rabbit_node_monitor:partitions() andalso "
    f"{SIZE} == length([Node || Node <- [node() | nodes()], rabbit:is_running(Node)])"
)

# epmd's protocol: a name is registered for as long as the connection lasts over which that was asked.
_ALIVE = 120
_REGISTERED = (bytes([118, 0]), bytes([121, 0]))
_VISIBLE_NODE = 77
_TCP = 0
_HIGHEST_VERSION, _LOWEST_VERSION = 6, 5


class Cluster:
    """Three brokers, each with an epmd of its own.

    Each epmd names one broker by itself; where the two others are it is told here. So the way from each host to each
    other one can lead through a proxy, and be broken: `way(here, there, port)` returns the port by which the host of
    number `here` reaches the Erlang port of the host `there`.
    """

    def __init__(self, folder: Path, way: Callable[[int, int, int], int] = lambda here, there, port: port) -> None:
        password, cookie = secrets.token_urlsafe(18), secrets.token_hex(20)
        names = [f"mq{number}" for number in range(1, SIZE + 1)]
        nodes = [f"{name}@localhost" for name in names]
        self.hosts = [
            RabbitMQ(folder / name, name=name, password=password, cluster=nodes, cookie=cookie) for name in names
        ]
        self._way = way
        self._names = names
        self._registrations: list[socket.socket] = []

    def start(self) -> None:
        """Start all of it; returns when every host answers and knows the others."""
        for host in self.hosts:
            host.prepare()
            host.start_epmd()
        for here, asking in enumerate(self.hosts):
            for there, host in enumerate(self.hosts):
                if here != there:
                    port = self._way(here, there, host.dist_port)
                    self._registrations.append(_register(asking.epmd_port, self._names[there], port))
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            host.wait_ready()
        wait_for(self.is_whole, 30, "the cluster is whole", [host.log for host in self.hosts])

    @property
    def url(self) -> str:
        """The setting that names every host."""
        return ",".join(host.url() for host in self.hosts)

    def is_whole(self) -> bool:
        """Whether each host answers, sees the others at work and has not fallen out with any."""
        return all(host.is_ready() and host.eval(_WHOLE) == "true" for host in self.hosts)

    def close(self) -> None:
        """End every process."""
        for host in self.hosts:
            if host.running:
                host.thaw()
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(RabbitMQ.close, self.hosts))
        for registration in self._registrations:
            registration.close()


def _register(epmd_port: int, name: str, port: int) -> socket.socket:
    """Let an epmd say that the Erlang node `name` listens on `port`; ends with the connection."""
    request = struct.pack(
        f">BHBBHHH{len(name)}sH",
        _ALIVE,
        port,
        _VISIBLE_NODE,
        _TCP,
        _HIGHEST_VERSION,
        _LOWEST_VERSION,
        len(name),
        name.encode(),
        0,
    )
    epmd = socket.create_connection((LOOPBACK, epmd_port), timeout=5)
    epmd.sendall(struct.pack(">H", len(request)) + request)
    answer = epmd.recv(2)
    if answer not in _REGISTERED:
        raise RuntimeError(f"epmd does not register {name}: {answer!r}")
    return epmd
