"""The brokers and the database of a run: started once, when the first system needs them (docs/performance.md)."""

import secrets
from contextlib import suppress
from pathlib import Path

from ops.services import Postgres, Process, RabbitMQ, free_port, wait_for
from ops.services.binaries import REDIS_SERVER
from ops.services.ports import answers
from tests.services.rigs.site import Site

_TEMPLATE = "migrated"


class Services:
    """RabbitMQ, PostgreSQL (fsync on) and Redis, each private to the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rabbitmq: RabbitMQ | None = None
        self._postgres: Postgres | None = None
        self._redis: tuple[Process, int] | None = None

    @property
    def rabbitmq(self) -> RabbitMQ:
        """The broker, ready."""
        if self._rabbitmq is None:
            self._rabbitmq = RabbitMQ(self.folder / "rabbitmq")
            self._rabbitmq.prepare()
            self._rabbitmq.start()
            self._rabbitmq.wait_ready()
        return self._rabbitmq

    @property
    def postgres(self) -> Postgres:
        """The database server, ready, with a migrated template."""
        if self._postgres is None:
            self._postgres = Postgres(self.folder / "postgres")
            self._postgres.prepare()
            self._postgres.start()
            self._postgres.wait_ready()
            site = Site(self.folder, {"DATABASE_URL": self._postgres.createdb(_TEMPLATE)})
            site.manage("migrate", "--no-input", "--verbosity=0")
        return self._postgres

    def database(self) -> str:
        """The URL of a new migrated database."""
        return self.postgres.createdb(f"bench_{secrets.token_hex(4)}", template=_TEMPLATE)

    def vhost(self) -> tuple[str, str]:
        """Name and URL of a new virtual host."""
        name = f"bench-{secrets.token_hex(4)}"
        return name, self.rabbitmq.add_vhost(name)

    @property
    def redis(self) -> tuple[int, int]:
        """Process id and port of the Redis, in memory alone."""
        if self._redis is None:
            port = free_port()
            command = f"{REDIS_SERVER.path()} --port {port} --bind 127.0.0.1 --appendonly no --dir {self.folder}"
            server = Process([*command.split(), "--save", ""], self.folder / "redis.log")
            wait_for(lambda: answers(port), 10, "Redis answers", [server.log])
            self._redis = server, port
        return self._redis[0].pid, self._redis[1]

    @property
    def postgres_pid(self) -> int:
        """The database server's first process."""
        return int((self.postgres.data / "postmaster.pid").read_text().split()[0])

    def close(self) -> None:
        """End them."""
        if self._redis is not None:
            self._redis[0].stop()
        if self._postgres is not None:
            with suppress(Exception):
                self._postgres.stop()
        if self._rabbitmq is not None:
            self._rabbitmq.close()
