"""A site that a whole module of tests attacks, and the means to look into it (docs/security.md)."""

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import jwt
import pika

from ops.services import Postgres, RabbitMQ
from tests.services.rigs.clients import Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import PASSWORD, Node, Site

EXCHANGE: Final = "realtime.events"
_HTTP_SECS: Final = 15


@dataclass(frozen=True)
class Response:
    """An HTTP answer, redirects not followed; names of headers in lower case, in their order."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def header(self, name: str) -> str | None:
        """The value of a header; None where there is none."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def cookies(self) -> list[str]:
        """Every Set-Cookie."""
        return [value for key, value in self.headers if key == "set-cookie"]


def request(
    node: Node, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: str = ""
) -> Response:
    """Ask a node as a program would: no cookies, redirects or headers but those given."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=_HTTP_SECS)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        found = [(name.lower(), value) for name, value in answer.getheaders()]
        return Response(answer.status, found, answer.read().decode())
    finally:
        connection.close()


def metrics(node: Node, name: str) -> dict[str, float]:
    """The samples of one metric of a node, by the text of their labels (`reason="not_json"`)."""
    pattern = re.compile(rf"^{re.escape(name)}(?:\{{(.*)\}})? (\S+)$", re.MULTILINE)
    return {labels: float(value) for labels, value in pattern.findall(request(node, "/metrics").body)}


def resident_mib(node: Node) -> float:
    """Memory that a node holds, in MiB."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unchecked."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


class ForeignPublisher:
    """A program in no language of ours: bytes to the exchange, confirmed by the broker."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def publish(
        self,
        key: str,
        body: bytes,
        properties: pika.BasicProperties | None = None,
    ) -> None:
        """Publish to the exchange of events; returns when the broker has taken it."""
        self._channel.basic_publish(EXCHANGE, key, body, properties)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Target:
    """A site with its broker and database.

    Attributes:
        tokens: every token that the tests got or forged: none of them may ever stand in a log.
    """

    site: Site
    rabbitmq: RabbitMQ
    vhost: str
    postgres: Postgres
    database: str
    tokens: set[str] = field(default_factory=set)

    @property
    def amqp_url(self) -> str:
        """The URL of the virtual host."""
        return self.rabbitmq.url(self.vhost)

    def sql(self, statement: str) -> list[str]:
        """Run a statement; its rows."""
        return self.postgres.sql(statement, self.database).splitlines()

    def ensure_user(self, name: str) -> None:
        """Make somebody with bob's rights and password, unless there is one of this name."""
        if self.sql(f"SELECT 1 FROM auth_user WHERE username = '{name}'"):
            return
        columns = "password, is_superuser, first_name, last_name, email, is_staff, is_active, date_joined"
        self.sql(
            f"INSERT INTO auth_user (username, {columns}) "
            f"SELECT '{name}', {columns} FROM auth_user WHERE username = 'bob'"
        )

    def person(self, node: Node, name: str) -> Person:
        """Somebody who signed in; made before if need be."""
        self.ensure_user(name)
        return node.person(name, PASSWORD)

    def token(self, person: Person) -> str:
        """A fresh socket token of somebody signed in."""
        token = person.token()
        self.tokens.add(token)
        return token

    def bindings(self) -> set[str]:
        """The binding keys of all queues on the exchange of events."""
        return set(self.rabbitmq.binding_keys(self.vhost, EXCHANGE))

    def publisher(self) -> ForeignPublisher:
        """A new connection to the broker."""
        return ForeignPublisher(self.amqp_url)

    async def assert_healthy(self, node: Node, token: str) -> None:
        """The node says that it is ready, and an event reaches an honest user's new tab."""
        assert node.is_ready
        tab = await Tab.open(node.websocket, token)
        name = f"honest/{uuid4().hex}"
        with self.publisher() as publisher:
            publisher.publish(f"user.{claims_of(token)['sub']}", f'{{"id": "{name}", "data": null}}'.encode())
        await tab.wait_for_event(name)
        await tab.close()


@contextmanager
def open_target(
    folder: Path, rabbitmq: RabbitMQ, postgres: Postgres, template: str, static_root: Path
) -> Iterator[Target]:
    """A site on a virtual host and a database of its own. What its nodes said is printed at the end."""
    vhost, database = f"target-{uuid4().hex}", f"target_{uuid4().hex}"
    rabbitmq.add_vhost(vhost)
    settings = {
        "AMQP_URL": rabbitmq.url(vhost),
        "DATABASE_URL": postgres.createdb(database, template=template),
        "STATIC_ROOT": str(static_root),
    }
    site = Site(folder, settings)
    try:
        yield Target(site, rabbitmq, vhost, postgres, database)
    finally:
        site.close()
        print(site.logs())
        rabbitmq.delete_vhost(vhost)
        postgres.dropdb(database)
