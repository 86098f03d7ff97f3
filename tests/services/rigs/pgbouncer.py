"""A private PgBouncer in transaction mode before a PostgreSQL (docs/stack.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.services import Postgres, Process, free_port, ports, users, wait_for
from ops.services.binaries import PGBOUNCER

# Fewer than the clients of any test: each transaction may find itself on another server connection.
POOL_SIZE = 2


@contextmanager
def pgbouncer(folder: Path, postgres: Postgres) -> Iterator[int]:
    """Gives the port; any database and any password go."""
    port = free_port()
    config = folder / "pgbouncer.ini"
    server = f"host={ports.LOOPBACK} port={postgres.port} user={postgres.user} password={postgres.password}"
    config.write_text(
        f"[databases]\n* = {server}\n"
        f"[pgbouncer]\nlisten_addr = {ports.LOOPBACK}\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {POOL_SIZE}\n"
    )
    users.give_to("postgres", folder)
    process = Process(
        [*users.as_user("postgres", config), PGBOUNCER.path(), config], folder / "pgbouncer.log", cwd=folder
    )
    try:
        wait_for(lambda: ports.answers(port), 10, "PgBouncer answers", [process.log])
        yield port
    finally:
        process.kill9()
