"""The site that is broken: every process and every connection of it within reach (docs/chaos.md).

tabs ──proxies─(nginx)─▶ two nodes ──proxies──▶ RabbitMQ ◀──proxy── web processes, relay
                             └──────proxy─────▶ PostgreSQL ◀──proxy──┘
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ops.services import Postgres, Process, RabbitMQ, free_port
from ops.services.binaries import PSQL
from tests.chaos.control import RawListener
from tests.chaos.ledger import Ledger
from tests.chaos.meters import Meters
from tests.chaos.nginx import Nginx
from tests.chaos.records import Cursor, Diary
from tests.chaos.sizes import Size
from tests.chaos.tab import Tab
from tests.chaos.web import TOPIC
from tests.services.rigs.proxy import TcpProxy
from tests.services.rigs.site import BIN, ROOT, Node, Site, daphne_command

DATABASE = "chaos"
NODES = 2
WEBS = 2
TABS_PER_USER = 2
# Tabs of one group share a network that can be cut.
GROUPS = 4
# This group comes through nginx, the others straight to a node.
NGINX_GROUP = 3
_ANSWER_SECS = 60.0
_POLL_SECS = 0.05
_PUBLISHES = "publisher: Publishing to"

_MAKE_USERS = """
import json
from django.contrib.auth import get_user_model
from apps.realtime.signin import password_digest
users = get_user_model()
made = users.objects.bulk_create([users(username=f"user{number}", password="!") for number in range(COUNT)])
print(json.dumps([[str(user.pk), user.username, password_digest(user)] for user in made]))
"""


class User:
    """Somebody with tabs; what a token of theirs needs."""

    def __init__(self, pk: str, username: str, digest: str) -> None:
        self.pk = pk
        self._username = username
        self._digest = digest

    @property
    def streams(self) -> tuple[str, ...]:
        """What each of their tabs listens to."""
        return (f"user.{self.pk}", "all", f"topic.{TOPIC}")

    def token(self) -> str:
        """A fresh one, signed here: 200 sign-ins over HTTP would cost a minute."""
        from apps.realtime.signin import NO_SESSION
        from apps.realtime.tokens import issue_token

        return issue_token(
            user_id=self.pk, username=self._username, mark=NO_SESSION, password=self._digest, now=time.time()
        ).text


class WebProcess:
    """A `tests.chaos.web` process and the pipe over which it takes orders."""

    def __init__(self, name: str, users: list[str], folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        log_of_calls = str(folder / "calls" / f"{name}.jsonl")
        command = [str(BIN / "python"), "-m", "tests.chaos.web", name, log_of_calls, *users]
        with (folder / f"{name}.log").open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=dict(env),
                cwd=ROOT,
                start_new_session=True,
            )

    async def wait_ready(self) -> None:
        """Wait until it takes orders."""
        assert await self._answer() == "ready", f"{self.name} did not start"

    async def order(self, **order: Any) -> None:
        """Give an order and wait until it is carried out."""
        self.say(**order)
        assert await self._answer() == "done", f"{self.name} ended"

    def say(self, **order: Any) -> None:
        """Give an order that it may not outlive."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(order) + "\n")
        self._child.stdin.flush()

    async def wait_dead(self) -> int:
        """Its exit status (negative: the signal that ended it)."""
        return await asyncio.to_thread(self._child.wait, _ANSWER_SECS)

    def close(self) -> None:
        """Let it end as a process does that is no longer needed."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(15)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    async def _answer(self) -> str:
        assert self._child.stdout is not None
        answer: str = await asyncio.wait_for(asyncio.to_thread(self._child.stdout.readline), _ANSWER_SECS)
        return answer.strip()


class Plant:
    """Starts everything in `folder`, whose logs are kept, and offers what the faults need."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder = folder
        self.size = size
        self.rabbitmq = RabbitMQ(folder / "rabbitmq")
        self.postgres = Postgres(folder / "postgres")
        self.nodes: list[Node] = []
        self.webs: list[WebProcess] = []
        self.tabs: list[Tab] = []
        self.naive: list[Tab] = []
        self._extra_nodes: list[Node] = []
        # Monotonic time of the quiet web process's last event; None before its first.
        self.quiet_since: float | None = None
        self._proxies: list[TcpProxy] = []

    async def start(self) -> None:
        """Everything up, every tab online."""
        for name in ("calls", "static"):
            (self.folder / name).mkdir()
        self.rabbitmq.prepare()
        self.rabbitmq.start()
        await asyncio.to_thread(self.postgres.prepare)
        self.postgres.start()
        await asyncio.to_thread(self.postgres.wait_ready)
        url = await asyncio.to_thread(self.postgres.createdb, DATABASE)
        await asyncio.to_thread(self.rabbitmq.wait_ready)
        self.node_amqp = [self._proxy(self.rabbitmq.port) for _ in range(NODES)]
        self.web_amqp = self._proxy(self.rabbitmq.port)
        self.node_database = self._proxy(self.postgres.port)
        self.web_database = self._proxy(self.postgres.port)
        self.site = Site(
            self.folder,
            {
                "AMQP_URL": self._through(self.web_amqp, self.rabbitmq.port, self.rabbitmq.url()),
                "DATABASE_URL": self._through(self.web_database, self.postgres.port, url),
                "STATIC_ROOT": str(self.folder / "static"),
                **self.size.settings,
            },
        )
        await asyncio.to_thread(self.site.manage, "migrate", "--no-input", "--verbosity=0")
        script = _MAKE_USERS.replace("COUNT", str(self.size.users))
        made = json.loads(await asyncio.to_thread(self.site.manage, "shell", "-v0", "-c", script))
        self.users = [User(*user) for user in made]
        self.ledger = Ledger(url, self.folder / "calls")
        ports = [free_port() for _ in range(NODES)]
        for number, port in enumerate(ports):
            self.nodes.append(Node(self._daphne(number, port), port))
        self.meters = Meters(ports)
        self.start_relay()
        for number in range(WEBS):
            self.webs.append(self.web(f"web{number}"))
        self.quiet = self.web("quiet")
        self.nginx = Nginx(self.folder / "nginx", ports)
        await asyncio.gather(*(asyncio.to_thread(node.wait_ready) for node in self.nodes))
        await asyncio.gather(*(web.wait_ready() for web in (*self.webs, self.quiet)))
        self.fronts = [[self._proxy(port) for port in ports] for _ in range(GROUPS)]
        self.fronts[NGINX_GROUP] = [self._proxy(self.nginx.port)]
        await self._open_tabs()

    async def close(self) -> None:
        """End every process; logs stay, the data of the servers do not."""
        for tab in [*self.tabs, *self.naive]:
            await tab.close()
        if hasattr(self, "raw"):
            await self.raw.close()
        for web in [*self.webs, *([self.quiet] if hasattr(self, "quiet") else [])]:
            await asyncio.to_thread(web.close)
        if hasattr(self, "nginx"):
            self.nginx.close()
        if hasattr(self, "relay"):
            self.relay.kill9()
        for node in [*self.nodes, *self._extra_nodes]:
            node.kill9()
        if self.rabbitmq.running:
            self.rabbitmq.thaw()
        for proxy in self._proxies:
            await asyncio.to_thread(proxy.close)
        await asyncio.to_thread(self.rabbitmq.close)
        await asyncio.to_thread(self.postgres.stop)
        for data in (self.postgres.data, self.rabbitmq.folder / "mnesia"):
            shutil.rmtree(data, ignore_errors=True)

    # Processes

    def web(self, name: str, env: Mapping[str, str] | None = None) -> WebProcess:
        """Start one more web process, `env` above the site's."""
        return WebProcess(name, [user.pk for user in self.users], self.folder, {**self.site.env, **(env or {})})

    def start_relay(self, env: Mapping[str, str] | None = None) -> None:
        """Start the relay, `env` above the site's; the one before must have ended."""
        command = [str(BIN / "python"), str(ROOT / "manage.py"), "realtime", "relay"]
        log = self.folder / "relay.log"
        self._relay_starts = self.said("relay", _PUBLISHES) + 1
        self.relay = Process(command, log, env={**self.site.env, **(env or {})}, cwd=ROOT)

    def relay_works(self) -> bool:
        """Whether the relay that was started last says that it publishes."""
        return self.said("relay", _PUBLISHES) >= self._relay_starts

    def start_node(self, number: int) -> None:
        """Start a node that has ended, on its old port, as a supervisor does."""
        self.nodes[number].process = self._daphne(number, self.nodes[number].port)

    def fresh_node(self, log: Path) -> Node:
        """Start one more node, for a while; what it says goes to `log`."""
        port = free_port()
        self._extra_nodes.append(Node(self._daphne(1, port, log), port))
        return self._extra_nodes[-1]

    def _daphne(self, number: int, port: int, log: Path | None = None) -> Process:
        env = {
            **self.site.env,
            "AMQP_URL": self._through(self.node_amqp[number], self.rabbitmq.port, self.rabbitmq.url()),
            "DATABASE_URL": self._through(self.node_database, self.postgres.port, self.postgres.url(DATABASE)),
        }
        return Process(daphne_command(port).split(), log or self.folder / f"node{number}.log", env=env, cwd=ROOT)

    def said(self, process: str, text: str) -> int:
        """How often a process has logged a text."""
        log = self.folder / f"{process}.log"
        return log.read_text().count(text) if log.exists() else 0

    def pg(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL's own, such as pg_dump, on our server."""
        where = ["-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", self.postgres.user]
        subprocess.run(
            [str(PSQL.path().with_name(program)), *where, *arguments],
            env={**os.environ, "PGPASSWORD": self.postgres.password},
            check=True,
            capture_output=True,
            timeout=_ANSWER_SECS,
        )

    # Waiting

    async def until(self, condition: Callable[[], Any], secs: float) -> bool:
        """Whether the condition came true in time; it may use the database."""
        end = time.monotonic() + secs
        while not await asyncio.to_thread(condition):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_POLL_SECS)
        return True

    async def settled(self, secs: float) -> bool:
        """Wait until everything is numbered and every tab that is not away has applied it; False when time ran out."""
        heads: dict[str, Cursor] = {}

        def numbered() -> bool:
            nonlocal heads
            if self.ledger.unnumbered():
                return False
            heads = self.ledger.heads()
            return True

        end = time.monotonic() + secs
        if not await self.until(numbered, secs):
            return False
        while not all(tab.is_away or tab.is_at(heads) for tab in self.tabs):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_POLL_SECS)
        return True

    async def spread(self) -> None:
        """Let tabs go until both nodes have about as many: after a node was killed the other one has them all.

        Of those behind nginx nobody knows where they are, but nginx does.
        """
        by_node: list[list[Tab]] = [[], []]
        ports = [front[0].port for front in self.fronts]
        for tab in self.tabs:
            if tab.online and tab.diary.group != NGINX_GROUP:
                by_node[int(tab.url.split(":")[2].split("/")[0]) not in ports].append(tab)
        full, empty = sorted(by_node, key=len, reverse=True)
        if len(full) > 2 * len(empty):
            # Each goes to either node.
            for tab in full[: len(full) - len(empty)]:
                tab.drop()
            await self.until(lambda: all(tab.online or tab.is_away for tab in self.tabs), 10)

    # Tabs

    def group(self, number: int) -> list[Tab]:
        """The tabs that share a network."""
        return [tab for tab in self.tabs if tab.diary.group == number]

    def choose(self, group: int) -> Callable[[], str]:
        """As a load balancer does that knows nothing of the nodes' health."""
        return lambda: f"ws://127.0.0.1:{random.choice(self.fronts[group]).port}/websocket"

    def open_tab(self, name: str, user: User, group: int, choose: Callable[[], str]) -> Tab:
        """Somebody opens one more tab; what it applies is judged from then on."""
        tab = Tab(Diary(f"{name} of user {user.pk}", user.streams, group), choose, user.token, [TOPIC])
        self.tabs.append(tab)
        return tab

    # Inside

    async def _open_tabs(self) -> None:
        heads = self.ledger.heads()
        for number, user in enumerate(self.users):
            for place in range(TABS_PER_USER):
                group = (number + place) % GROUPS
                self.open_tab(f"tab {place}", user, group, self.choose(group))
            if number < GROUPS:
                diary = Diary(f"naive tab of user {user.pk}", user.streams, number)
                self.naive.append(Tab(diary, self.choose(number), user.token, [TOPIC], careful=False))
        users = [f"user.{user.pk}" for user in self.users]
        self.raw = RawListener(self.rabbitmq.url(), (*users, "all", f"topic.{TOPIC}"))
        await self.raw.wait_connected()
        self.raw.begin(heads)
        online = lambda: all(tab.online for tab in [*self.tabs, *self.naive])  # noqa: E731
        assert await self.until(online, 60), "not every tab came online"

    def _proxy(self, port: int) -> TcpProxy:
        self._proxies.append(TcpProxy(port))
        return self._proxies[-1]

    @staticmethod
    def _through(proxy: TcpProxy, port: int, url: str) -> str:
        return url.replace(f":{port}/", f":{proxy.port}/")
