"""A private RabbitMQ node with its own epmd (docs/stack.md)."""

import json
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.render import render
from ops.services import ports, users
from ops.services.binaries import EPMD, ERL_CALL, RABBITMQ_SERVER, RABBITMQCTL
from ops.services.process import Process
from ops.services.waiting import wait_for

CONFIG = Path(__file__).parent.parent / "rabbitmq"

_SYSTEM_USER = "rabbitmq"
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
# 6 to 7 s on an idle machine with two cores, several times that when everything starts at once.
_READY_SECS = 60
_CTL_SECS = 60
_CALL_SECS = 15


class RabbitMQ:
    """One broker in `folder`, its ports on loopback.

    `prepare` writes its files; then either `start` runs it here (tests), or a supervisor runs
    `epmd_command` and `server_command` (`make stack`). epmd, the name service of Erlang, is a process of
    ours beside the broker: the one that Erlang would start itself detaches and outlives every broker.

    `cluster` names the Erlang nodes of a cluster of three, this one among them; they share `cookie`
    (`ops.services.cluster`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        dist_port: int | None = None,
        epmd_port: int | None = None,
        user: str = "message_flow",
        password: str | None = None,
        name: str = "message_flow",
        cluster: Sequence[str] = (),
        cookie: str | None = None,
        extra_env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or ports.free_port()
        self.dist_port = dist_port or ports.free_port()
        self.epmd_port = epmd_port or ports.free_port()
        self.user = user
        self.password = password or secrets.token_urlsafe(18)
        self.node = f"{name}@localhost"
        self._cluster = tuple(cluster)
        self._cookie = cookie or secrets.token_hex(20)
        self._extra_env = dict(extra_env or {})
        self._broker: Process | None = None
        self._epmd: Process | None = None

    # What a supervisor needs

    def prepare(self) -> None:
        """Write configuration and cookie, keep the data of earlier runs."""
        for folder in (self.folder / "home", self.folder / "mnesia", self.folder / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        config = render(
            CONFIG / "rabbitmq.conf",
            {
                "AMQP_PORT": self.port,
                "AMQP_USER": self.user,
                "AMQP_PASSWORD": self.password,
                "DISK_FREE_LIMIT": "50MB",
            },
        )
        if self._cluster:
            nodes = {f"NODE_{number}": node for number, node in enumerate(self._cluster, 1)}
            config += "\n" + render(CONFIG / "cluster.conf", nodes)
            self._write("advanced.config", (CONFIG / "advanced.config").read_text(), 0o644)
        self._write("rabbitmq.conf", config, 0o600)
        self._write("enabled_plugins", (CONFIG / "enabled_plugins").read_text(), 0o644)
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            self._write("home/.erlang.cookie", self._cookie, 0o400)
        users.give_to(_SYSTEM_USER, self.folder)

    def epmd_command(self) -> list[str]:
        """Runs epmd in the foreground, on loopback."""
        return [*self._prefix(), str(EPMD.path()), "-port", str(self.epmd_port), "-address", ports.LOOPBACK]

    def server_command(self) -> list[str]:
        """Runs the broker in the foreground, the process itself being the Erlang machine."""
        return [*self._prefix(), str(RABBITMQ_SERVER.path())]

    def ctl_command(self) -> list[str]:
        """`rabbitmqctl` for this broker, without its arguments."""
        return [*self._prefix(), str(RABBITMQCTL.path()), "--quiet"]

    # Running it here

    def start_epmd(self) -> None:
        """Start epmd unless it runs; it listens when this returns."""
        if self._epmd is None or not self._epmd.running:
            self._epmd = Process(self.epmd_command(), self.folder / "log" / "epmd.log", cwd=self.folder)
            wait_for(lambda: ports.answers(self.epmd_port), 10, "epmd listens", [self._epmd.log])

    def start(self) -> None:
        """Start what does not run of epmd and broker; `wait_ready` waits for them."""
        self.start_epmd()
        if self._broker is None or not self._broker.running:
            self._broker = Process(self.server_command(), self.log, cwd=self.folder)

    def wait_ready(self, deadline_secs: float = _READY_SECS) -> None:
        """Wait until the broker answers AMQP."""
        wait_for(self.is_ready, deadline_secs, f"RabbitMQ answers on port {self.port}", [self.log])

    def stop(self) -> None:
        """Stop the broker in good order; its data and its epmd stay."""
        if self._broker is not None:
            self._broker.stop(deadline_secs=30)
            self._broker = None

    def kill9(self) -> None:
        """End the broker as a crash would."""
        if self._broker is not None:
            self._broker.kill9()
            self._broker = None

    def freeze(self) -> None:
        """Stop the broker's process in its tracks: it keeps its connections and answers nothing."""
        self._running_broker().send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._running_broker().send(signal.SIGCONT)

    def close(self) -> None:
        """Stop broker and epmd: nothing of this object runs any more."""
        self.stop()
        if self._epmd is not None:
            self._epmd.stop()
            self._epmd = None

    # Talking to it

    @property
    def log(self) -> Path:
        """The broker's output when it runs here."""
        return self.folder / "log" / "rabbitmq.log"

    @property
    def running(self) -> bool:
        """Whether the broker that was started here has not ended."""
        return self._broker is not None and self._broker.running

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine that was started here."""
        return self._running_broker().pid

    def is_ready(self) -> bool:
        """Whether the broker answers AMQP."""
        return ports.answers(self.port, _AMQP_HEADER)

    def url(self, vhost: str = "/") -> str:
        """The AMQP URL of a virtual host."""
        path = "%2F" if vhost == "/" else vhost
        return f"amqp://{self.user}:{self.password}@{ports.LOOPBACK}:{self.port}/{path}"

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl` with `arguments`; its output. Raises with what it said when it fails."""
        done = self._run([*self.ctl_command(), *arguments])
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def heal(self) -> str:
        """Run `ops/rabbitmq/heal`, as cron does on a server; what it says."""
        done = self._run([*self._prefix(), "/bin/sh", str(CONFIG / "heal")])
        if done.returncode != 0:
            raise RuntimeError(f"heal: {done.stdout} {done.stderr}")
        return done.stdout

    def eval(self, expression: str) -> str:
        """The value of an Erlang expression, as Erlang writes it.

        It is run in the broker, in 15 ms: `rabbitmqctl` takes 400, it starts an Erlang of its own.
        """
        give_up_at = time.monotonic() + _CALL_SECS
        while True:
            done = self._run([*self._prefix(), str(ERL_CALL.path()), "-sname", self.node, "-e"], f"{expression}.\n")
            # A busy one lets nobody in for a moment; then nothing was run.
            if "failed to connect" not in done.stderr + done.stdout or time.monotonic() > give_up_at:
                break
            time.sleep(0.1)
        if not done.stdout.startswith("{ok,"):
            raise RuntimeError(f"erl_call {expression}: {done.stdout} {done.stderr}")
        return done.stdout.strip().removeprefix("{ok, ").removesuffix("}")

    # What the operator would do with `rabbitmqctl`

    def add_vhost(self, name: str) -> str:
        """Make a virtual host, give our user all rights in it, return its URL."""
        self.eval(f"ok = rabbit_vhost:add({_binary(name)}, {_binary(self.user)})")
        self.set_permissions(name, self.user)
        return self.url(name)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with everything in it; its connections are closed."""
        self.eval(f"ok = rabbit_vhost:delete({_binary(name)}, {_binary(self.user)})")

    def limit_queues(self, vhost: str, limit: int | None) -> None:
        """Allow a virtual host that many queues; None: any number."""
        name, user = _binary(vhost), _binary(self.user)
        if limit is None:
            self.eval(f"ok = rabbit_vhost_limit:clear({name}, {user})")
        else:
            self.eval(f'ok = rabbit_vhost_limit:set({name}, [{{<<"max-queues">>, {limit}}}], {user})')

    def add_user(self, name: str, password: str) -> None:
        """Make a user that has no rights yet."""
        self.eval(
            f"ok = rabbit_auth_backend_internal:add_user({_binary(name)}, {_binary(password)}, {_binary(self.user)})"
        )

    def delete_user(self, name: str) -> None:
        """Delete a user."""
        self.eval(f"ok = rabbit_auth_backend_internal:delete_user({_binary(name)}, {_binary(self.user)})")

    def set_permissions(
        self, vhost: str, user: str, configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        """Give a user rights in a virtual host, as patterns of names."""
        arguments = ", ".join(map(_binary, (user, vhost, configure, write, read, self.user)))
        self.eval(f"ok = rabbit_auth_backend_internal:set_permissions({arguments})")

    def queues(self, vhost: str) -> list[str]:
        """The names of the queues of a virtual host."""
        return self._texts(f"[N || {{resource, _, queue, N}} <- rabbit_amqqueue:list_names({_binary(vhost)})]")

    def delete_queue(self, vhost: str, name: str) -> None:
        """Delete a queue; raises when there is none of that name."""
        resource = f"rabbit_misc:r({_binary(vhost)}, queue, {_binary(name)})"
        self.eval(
            f"{{ok, Q}} = rabbit_amqqueue:lookup({resource}), "
            f"{{ok, _}} = rabbit_amqqueue:delete(Q, false, false, {_binary(self.user)})"
        )

    def delete_exchange(self, vhost: str, name: str) -> None:
        """Delete an exchange, and with it its bindings."""
        self.eval(f"ok = rabbit_exchange:delete({_exchange(vhost, name)}, false, {_binary(self.user)})")

    def binding_keys(self, vhost: str, exchange: str) -> list[str]:
        """The routing key of each binding of an exchange."""
        bindings = f"rabbit_binding:list_for_source({_exchange(vhost, exchange)})"
        return self._texts(f"[Key || {{binding, _, Key, _, _}} <- {bindings}]")

    def close_connections(self, vhost: str) -> None:
        """Close every connection to a virtual host, and say so to its other end."""
        connections = f"rabbit_connection_tracking:list({_binary(vhost)})"
        self.eval(f'rabbit_connection_tracking_handler:close_connections({connections}, <<"maintenance">>, 0)')

    def set_memory_watermark(self, share: float) -> None:
        """Sound the memory alarm when the broker holds more than that share of the machine's memory."""
        self.eval(f"vm_memory_monitor:set_vm_memory_high_watermark({share:f})")

    def _texts(self, binaries: str) -> list[str]:
        """The value of an Erlang expression that is a list of binaries; none of them is empty."""
        # erl_call writes a binary as no more than its size, and a list of strings as JSON does.
        texts: list[str] = json.loads(self.eval(f"[binary_to_list(Binary) || Binary <- {binaries}]"))
        return texts

    def _running_broker(self) -> Process:
        if self._broker is None:
            raise RuntimeError("RabbitMQ is not running")
        return self._broker

    @staticmethod
    def _run(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  # our own command lines
            command, input=text, capture_output=True, text=True, timeout=_CTL_SECS, cwd="/", check=False
        )

    def _prefix(self) -> list[str]:
        """Another user where that is needed, and a clean environment: no setting of the caller leaks in."""
        pairs = [f"{name}={value}" for name, value in self._environment().items()]
        return [*users.as_user(_SYSTEM_USER, self.folder), "/usr/bin/env", "-i", *pairs]

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "HOME": str(folder / "home"),
            "PATH": "/usr/lib/rabbitmq/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            # Not the system's: there need not be one.
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # The start script then execs the Erlang machine instead of keeping a shell above it: whoever
            # supervises it sees it die, and one SIGTERM stops it in good order.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": ports.LOOPBACK,
            # Nothing may start a second, detached epmd (see the class). Erlang's distribution stays on
            # loopback.
            "ERL_FLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            **self._extra_env,
        }

    def _write(self, name: str, text: str, mode: int) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.touch(mode)
        path.write_text(text) if mode & 0o200 else _write_readonly(path, text)


def _write_readonly(path: Path, text: str) -> None:
    path.chmod(0o600)
    path.write_text(text)
    path.chmod(0o400)


def _binary(text: str) -> str:
    """A text as Erlang writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}">>'


def _exchange(vhost: str, name: str) -> str:
    return f"rabbit_misc:r({_binary(vhost)}, exchange, {_binary(name)})"
