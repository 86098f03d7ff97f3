"""Ports of this machine (docs/stack.md)."""

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A loopback TCP port that nobody holds now.

    Somebody may take it before its server starts: a server that cannot bind says so in its log.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
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
