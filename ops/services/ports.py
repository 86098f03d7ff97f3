"""Ports of this machine (docs/stack.md)."""

import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

_LOWEST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A loopback TCP port that nobody holds now, and that the kernel gives to no outgoing connection.

    Such a connection could take the port while its server is down, even one to this very port: it would reach itself.
    Drawn by chance, and by the system's: several programs may search at the same time, tests with the same seed.
    """
    lowest_ephemeral = int(_EPHEMERAL.read_text().split()[0])
    while True:
        port = _LOWEST + secrets.randbelow(max(lowest_ephemeral - _LOWEST, 10_000))
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback `port`."""
    with socket.socket() as probe:
        # As servers do: a closed connection in TIME_WAIT is nobody's port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def answers(port: int, greeting: bytes = b"") -> bool:
    """Whether a server on the loopback `port` accepts and, after `greeting`, says something."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as client:
            if not greeting:
                return True
            client.sendall(greeting)
            return bool(client.recv(1))
    except OSError:
        return False
