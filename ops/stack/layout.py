"""Where the stack of this checkout keeps its things, its ports and its settings (docs/stack.md)."""

import json
import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.services import Postgres, RabbitMQ, free_port, is_free

ROOT = Path(__file__).parent.parent.parent
RUN = ROOT / "run"
LOG = ROOT / "log"

# Every process of the stack carries it, so that all can be found whatever has become of their parents.
MARKER = "MESSAGE_FLOW_STACK"

# What the kernel takes for the path of a unix socket, less what supervisor adds to one while it makes it.
_SOCKET_PATH_BYTES = 107 - len(".1234567")

# Settings that whoever starts the stack may set in the environment; the others are the stack's own.
_PASSED_ON = (
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "DEMO_PASSWORD",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "LOG_TRACE",
    "REALTIME_SECRET",
    "SECRET_KEY",
)
_PASSED_ON_PREFIX = "REALTIME_"


class StackError(RuntimeError):
    """Something that the person at the terminal has to change; the message is one line."""


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one stack. Kept between runs, so that a shell's run/stack.env stays right."""

    http: int
    node_1: int
    node_2: int
    amqp: int
    erlang: int
    epmd: int
    postgres: int

    @classmethod
    def load(cls) -> "Ports | None":
        """Those of the last run, if there was one."""
        try:
            return cls(**json.loads(_PORTS_FILE.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @classmethod
    def choose(cls, http: int) -> "Ports":
        """Those of the last run where they are still free, else new ones; remembered."""
        last = cls.load()
        chosen = {"http": http}
        for name in ("node_1", "node_2", "amqp", "erlang", "epmd", "postgres"):
            port: int | None = getattr(last, name, None)
            while port is None or port in chosen.values() or not is_free(port):
                port = free_port()
            chosen[name] = port
        ports = cls(**chosen)
        _PORTS_FILE.write_text(json.dumps(chosen, indent=2) + "\n")
        return ports

    @property
    def nodes(self) -> tuple[int, int]:
        """The ports of the Daphne nodes."""
        return self.node_1, self.node_2


_PORTS_FILE = RUN / "stack.json"
SETTINGS_FILE = RUN / "stack.env"
SUPERVISORD_PID = RUN / "supervisord.pid"
SUPERVISORD_CONF = RUN / "supervisord.conf"
WEB_SOCKET = RUN / "web.sock"
NGINX_FOLDER = RUN / "nginx"
POSTGRES_FOLDER = RUN / "postgres"
RABBITMQ_FOLDER = RUN / "rabbitmq"
DATABASE = "message_flow"


def check_paths() -> None:
    """Refuse a checkout so deep that its sockets could not be made."""
    longest = str(RUN / "supervisor.sock")
    if len(longest.encode()) > _SOCKET_PATH_BYTES:
        raise StackError(f"The path of this checkout is too long for a unix socket: {longest}")


def settings(ports: Ports, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of the stack's processes: its own, and above them what the caller's `environment` may say.

    Secrets and passwords are made once and kept in run/stack.env, which only its owner may read.
    """
    kept = read_settings()
    values = {
        "DEMO": "1",
        "DEBUG": "0",
        "HTTPS": "0",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "SECRET_KEY": kept.get("SECRET_KEY") or secrets.token_urlsafe(48),
        "REALTIME_SECRET": kept.get("REALTIME_SECRET") or secrets.token_urlsafe(48),
        "DEMO_PASSWORD": kept.get("DEMO_PASSWORD") or _password("demo-password", 9),
        "STATIC_ROOT": str(RUN / "static"),
    }
    values |= {
        name: value
        for name, value in environment.items()
        if value and (name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIX))
    }
    values["DATABASE_URL"] = postgres(ports).url(DATABASE)
    values["AMQP_URL"] = rabbitmq(ports).url()
    return values


def read_settings() -> dict[str, str]:
    """What run/stack.env holds; nothing when there is none."""
    try:
        words = shlex.split(SETTINGS_FILE.read_text(), comments=True)
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def write_settings(values: Mapping[str, str]) -> None:
    """Write run/stack.env, which gives a shell the stack's settings: `. run/stack.env`."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    write_private(SETTINGS_FILE, "\n".join(["# Written by `make stack`.", *lines, ""]))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def postgres(ports: Ports) -> Postgres:
    """The stack's database server."""
    return Postgres(POSTGRES_FOLDER, port=ports.postgres, password=_password("postgres-password"))


def rabbitmq(ports: Ports) -> RabbitMQ:
    """The stack's broker."""
    return RabbitMQ(
        RABBITMQ_FOLDER,
        port=ports.amqp,
        dist_port=ports.erlang,
        epmd_port=ports.epmd,
        password=_password("amqp-password"),
        extra_env={MARKER: str(RUN)},
    )


def _password(name: str, strength_bytes: int = 18) -> str:
    """A password made at the first start: the server's data keep it, so we do."""
    path = RUN / name
    if not path.exists():
        write_private(path, secrets.token_urlsafe(strength_bytes) + "\n")
    return path.read_text().strip()
