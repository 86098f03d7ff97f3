"""One RabbitMQ and one PostgreSQL for the process, a virtual host and a database for each test (docs/stack.md)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from ops.services import Postgres, RabbitMQ
from tests.services.rigs.pair import Pair
from tests.services.rigs.proxy import TcpProxy
from tests.services.rigs.site import Node, Site
from tests.services.rigs.target import open_target

_TEMPLATE_DATABASE = "migrated"


def pytest_configure(config: pytest.Config) -> None:
    """The tests of this folder that `make test` keeps from the others."""
    config.addinivalue_line("markers", "alone: measures time, so nothing else may run beside it")


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The broker of the run, ready. A test that disturbs it asks for `broker` instead."""
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    server.prepare()
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The database server of the run, ready. Tests kill it, but cut no power: the disk need not be waited for."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), fsync=False)
    server.prepare()
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """The broker, for a test that may stop, kill and freeze it; afterwards it runs again."""
    yield rabbitmq
    if rabbitmq.running:
        rabbitmq.thaw()
    rabbitmq.start()
    rabbitmq.wait_ready()


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """The name of an empty virtual host of this test."""
    name = f"test-{uuid4().hex}"
    rabbitmq.add_vhost(name)
    yield name
    rabbitmq.start()
    rabbitmq.wait_ready()
    rabbitmq.delete_vhost(name)


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ, vhost: str) -> str:
    """The URL of this test's virtual host."""
    return rabbitmq.url(vhost)


@pytest.fixture(scope="session")
def _static_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collected static files: without them no page can be rendered."""
    folder = tmp_path_factory.mktemp("static")
    Site(folder, {"STATIC_ROOT": str(folder)}).manage("collectstatic", "--no-input", "--verbosity=0")
    return folder


@pytest.fixture(scope="session")
def _migrated(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with all tables and the demo users, to be copied: 0.1 s instead of 3."""
    url = postgres.createdb(_TEMPLATE_DATABASE)
    site = Site(tmp_path_factory.mktemp("migrated"), {"DATABASE_URL": url})
    site.manage("migrate", "--no-input", "--verbosity=0")
    site.manage("demo_users")
    return _TEMPLATE_DATABASE


@pytest.fixture
def database_url(postgres: Postgres, _migrated: str) -> Iterator[str]:
    """The URL of a database of this test, with all tables and alice, bob and carol in it."""
    name = f"test_{uuid4().hex}"
    yield postgres.createdb(name, template=_migrated)
    postgres.start()
    postgres.wait_ready()
    postgres.dropdb(name)


@pytest.fixture
def site(tmp_path: Path, amqp_url: str, database_url: str, _static_root: Path) -> Iterator[Site]:
    """The site on this test's virtual host and database. What its nodes said is printed with a failure."""
    settings = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url, "STATIC_ROOT": str(_static_root)}
    site = Site(tmp_path, settings)
    yield site
    site.close()
    print(site.logs())


@pytest.fixture
def node(site: Site) -> Callable[[int], list[Node]]:
    """`node(n)` starts n nodes of the site at once and waits until all are ready."""

    def start(count: int) -> list[Node]:
        nodes = [site.start_node() for _ in range(count)]
        for node in nodes:
            node.wait_ready()
        return nodes

    return start


@pytest.fixture(scope="session")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
    rabbitmq: RabbitMQ,
    postgres: Postgres,
    _migrated: str,
    _static_root: Path,
) -> Iterator[Callable[[Mapping[str, str]], Pair]]:
    """`pair(settings)` is two ready nodes with these settings, and always the same two: they take seconds to start."""
    pairs: dict[frozenset[tuple[str, str]], Pair] = {}
    with ExitStack() as stack:

        def ready(settings: Mapping[str, str]) -> Pair:
            key = frozenset(settings.items())
            if key not in pairs:
                folder = tmp_path_factory.mktemp("pair")
                target = stack.enter_context(open_target(folder, rabbitmq, postgres, _migrated, _static_root))
                target.site.env.update(settings)
                pairs[key] = Pair(target, [target.site.start_node() for _ in range(2)], count(1))
            for node in pairs[key].nodes:
                # The test before may have taken broker or database away.
                node.wait_ready()
            return pairs[key]

        yield ready


@pytest.fixture
def proxy() -> Iterator[Callable[[int], TcpProxy]]:
    """`proxy(port)` puts a breakable TCP proxy before a port."""
    proxies: list[TcpProxy] = []

    def start(port: int) -> TcpProxy:
        proxies.append(TcpProxy(port))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()
