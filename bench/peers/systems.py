"""Every system that is compared: how its servers are started, and who speaks to it how (docs/performance.md)."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.peers import tokens
from bench.peers.servers import nchan
from bench.peers.services import Services
from bench.peers.talk import Talker
from ops.services import Process, free_port, wait_for
from ops.services.binaries import NGINX
from ops.services.ports import answers
from ops.stack.control import is_ready
from tests.services.rigs.site import Site, daphne_command

ROOT: Final = Path(__file__).parents[2]
OURS: Final = sys.executable
PEERS: Final = ROOT / "run" / "bench-venv" / "bin"
_START_SECS: Final = 60.0
_SERVERS = "bench.peers.servers"


@dataclass
class Running:
    """A system with its publisher, under way in a folder of its own.

    Attributes:
        node: the command of one of its servers, with PORT in it.
        ready: whether that on a port serves.
        meters: the processes of each other part whose CPU is told apart, by its name.
        ports: where the sockets are opened.
    """

    folder: Path
    node: str
    env: Mapping[str, str]
    ports: list[int]
    publisher: Talker
    write_tokens: Callable[[int, Path], None]
    meters: dict[str, list[int]]
    ready: Callable[[int], bool] = answers
    nodes: list[Process] = field(default_factory=list)
    others: list[Process] = field(default_factory=list)
    clean: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Start its nodes and wait until they are ready."""
        for port in self.ports:
            log = self.folder / f"node-{port}.log"
            self.nodes.append(_start(self.node.replace("PORT", str(port)), log, self.env))
        _wait(self.ports, self.nodes, self.ready)

    def kill(self) -> None:
        """End its nodes as a crash would."""
        while self.nodes:
            self.nodes.pop().kill9()

    def close(self) -> None:
        """End its processes."""
        self.kill()
        self.publisher.close()
        for process in self.others:
            process.kill9()
        self.clean()


@dataclass(frozen=True)
class System:
    """What can be measured.

    Attributes:
        start: starts so many nodes in a folder.
        cannot: what it does not do, for the table.
        topics: whether it has any.
        durable: whether it has events that survive a restart.
    """

    name: str
    dialect: str
    start: Callable[[Services, Path, int], Running]
    cannot: str = ""
    topics: bool = True
    durable: bool = False


def _peer_tokens(users: int, path: Path) -> None:
    path.write_text("\n".join(tokens.issue(number) for number in range(1, users + 1)))


def _env(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, **more}


def _publisher(folder: Path, python: str, module: str, env: Mapping[str, str]) -> Talker:
    command = [python, "-m", "bench.peers.publisher", module]
    return Talker(command, folder / "publisher.log", env, ROOT)


def _start(command: str, log: Path, env: Mapping[str, str]) -> Process:
    return Process(command.split(), log, env=env, cwd=ROOT)


def _wait(ports: Iterable[int], processes: Iterable[Process], ready: Callable[[int], bool] = answers) -> None:
    logs = [process.log for process in processes]
    for port in ports:
        wait_for(lambda port=port: ready(port), _START_SECS, f"port {port} answers", logs)  # type: ignore[misc]


# Ours ---------------------------------------------------------------------------------------------


def _message_flow(command: str = "", **settings: str) -> Callable[[Services, Path, int], Running]:
    """RabbitMQ, PostgreSQL, and the stock daphne command of ops/ unless there is another one."""

    def start(services: Services, folder: Path, nodes: int) -> Running:
        vhost, amqp_url = services.vhost()
        site = Site(
            folder,
            {
                "AMQP_URL": amqp_url,
                "DATABASE_URL": services.database(),
                "DJANGO_SETTINGS_MODULE": "bench.peers.site.settings",
                "LOG_LEVEL": "WARNING",
                # All browsers of the bench have one address.
                "REALTIME_MAX_SOCKETS_PER_ADDRESS": "1000000",
                "REALTIME_CONNECTS_PER_ADDRESS_PER_SEC": "1000000",
                **settings,
            },
        )
        publisher = _publisher(folder, OURS, "message_flow", site.env)
        # A port is a number in that command.
        running = Running(
            folder,
            command or daphne_command(0).replace(" -p 0 ", " -p PORT "),
            site.env,
            [free_port() for _ in range(nodes)],
            publisher,
            lambda users, path: _asked_tokens(publisher, users, path),
            {"broker": [services.rabbitmq.pid], "database": [services.postgres_pid]},
            is_ready,
            clean=lambda: services.rabbitmq.delete_vhost(vhost),
        )
        running.start()
        return running

    return start


def _asked_tokens(publisher: Talker, users: int, path: Path) -> None:
    publisher.ask(60, do="tokens", users=users, path=str(path))


# Peers --------------------------------------------------------------------------------------------


def _peer(
    module: str, server: str, env: Mapping[str, str], meters: dict[str, list[int]]
) -> Callable[[Path, int], Running]:
    """A peer whose `server` command has PORT in it."""

    def start(folder: Path, nodes: int) -> Running:
        command = server.replace("PYTHON", str(PEERS / "python")).replace("BIN", str(PEERS))
        publisher = _publisher(folder, str(PEERS / "python"), module, env)
        ports = [free_port() for _ in range(nodes)]
        running = Running(folder, command, env, ports, publisher, _peer_tokens, meters)
        running.start()
        return running

    return start


_DAPHNE = f"BIN/daphne -v 0 -b 127.0.0.1 -p PORT {_SERVERS}."
_UVICORN_OURS = f"{PEERS}/uvicorn --log-level warning --host 127.0.0.1 --port PORT project.asgi:application"
_UVICORN = f"BIN/uvicorn --log-level warning --host 127.0.0.1 --port PORT {_SERVERS}."


def _channels(layer: str, server: str) -> Callable[[Services, Path, int], Running]:
    def start(services: Services, folder: Path, nodes: int) -> Running:
        pid, port = services.redis
        env = _env(LAYER=layer, REDIS_PORT=str(port))
        return _peer("channels_app", f"{server}channels_app:application", env, {"broker": [pid]})(folder, nodes)

    return start


def _socketio(manager: str) -> Callable[[Services, Path, int], Running]:
    def start(services: Services, folder: Path, nodes: int) -> Running:
        server = f"{_UVICORN}socketio_app:application"
        if manager == "redis":
            pid, port = services.redis
            env = _env(MANAGER=manager, REDIS_PORT=str(port))
            return _peer("socketio_app", server, env, {"broker": [pid]})(folder, nodes)
        vhost, amqp_url = services.vhost()
        env = _env(MANAGER=manager, AMQP_URL=amqp_url)
        running = _peer("socketio_app", server, env, {"broker": [services.rabbitmq.pid]})(folder, nodes)
        running.clean = lambda: services.rabbitmq.delete_vhost(vhost)
        return running

    return start


def _pattern_2016(services: Services, folder: Path, nodes: int) -> Running:
    env = _env(ZMQ_IN=str(free_port()), ZMQ_OUT=str(free_port()))
    program = f"PYTHON -m {_SERVERS}.pattern_2016"
    proxy_command = f"{program.replace('PYTHON', str(PEERS / 'python'))} proxy"
    proxy = _start(proxy_command, folder / "proxy.log", env)
    _wait([int(env["ZMQ_IN"])], [proxy])
    running = _peer("pattern_2016", f"{program} serve PORT", env, {"broker": [proxy.pid]})(folder, nodes)
    running.others.append(proxy)
    return running


def _nchan(services: Services, folder: Path, nodes: int) -> Running:
    assert nodes == 1, "one nginx"
    port, auth_port = free_port(), free_port()
    (folder / "nginx.conf").write_text(
        nchan.CONFIG.format(folder=folder, port=port, auth_port=auth_port, module=nchan.MODULE)
    )
    env = _env(NCHAN_PORT=str(port))
    asked = _start(
        f"{PEERS}/uvicorn --log-level warning --port {auth_port} {_SERVERS}.nchan:application", folder / "auth.log", env
    )
    _wait([auth_port], [asked])
    publisher = _publisher(folder, str(PEERS / "python"), "nchan", env)
    command = f"{NGINX.path()} -e {folder}/nginx.log -c {folder}/nginx.conf"
    running = Running(folder, command, env, [port], publisher, _peer_tokens, {"broker": [asked.pid]}, others=[asked])
    running.start()
    return running


# Floors -------------------------------------------------------------------------------------------


def _floor(module: str, server: str, **env: str) -> Callable[[Services, Path, int], Running]:
    def start(services: Services, folder: Path, nodes: int) -> Running:
        assert nodes == 1, "a floor has one node"
        return _peer(module, server, _env(FEED_PORT=str(free_port()), **env), {})(folder, nodes)

    return start


_FLOOR = "no authentication, no broker"
_NO_RECOVERY = "no recovery, drops silently"
SYSTEMS: Final = {
    system.name: system
    for system in (
        System("message-flow", "v1", _message_flow(), durable=True),
        System("message-flow-node-queue", "v1", _message_flow(REALTIME_QUEUE_STRATEGY="node"), durable=True),
        System("message-flow-uvicorn", "v1", _message_flow(_UVICORN_OURS), durable=True),
        System("pattern-2016", "2016", _pattern_2016, "no recovery, loses silently in bursts, no topics", topics=False),
        System("socketio-redis-uvicorn", "socketio", _socketio("redis"), "no recovery in Python, no order"),
        System("socketio-amqp-uvicorn", "socketio", _socketio("amqp"), "no recovery in Python, no order"),
        System("channels-redis-pubsub-daphne", "query", _channels("pubsub", _DAPHNE), _NO_RECOVERY),
        System("channels-redis-core-daphne", "query", _channels("core", _DAPHNE), _NO_RECOVERY),
        System("channels-redis-pubsub-uvicorn", "query", _channels("pubsub", _UVICORN), _NO_RECOVERY),
        System("channels-redis-core-uvicorn", "query", _channels("core", _UVICORN), _NO_RECOVERY),
        System("nginx-nchan", "query", _nchan, "in C; who a socket is, is asked over HTTP; no sign-out"),
        System(
            "floor-daphne-consumer",
            "query",
            _floor("floor_daphne", f"{_DAPHNE}floor_daphne:application", FLOOR="consumer"),
            _FLOOR,
            topics=False,
        ),
        System(
            "floor-daphne-asgi",
            "query",
            _floor("floor_daphne", f"{_DAPHNE}floor_daphne:application", FLOOR="callable"),
            _FLOOR,
            topics=False,
        ),
        System(
            "floor-send",
            "query",
            _floor("floor_send", f"PYTHON -m {_SERVERS}.floor_send PORT"),
            _FLOOR,
            topics=False,
        ),
    )
}
