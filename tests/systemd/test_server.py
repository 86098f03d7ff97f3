"""A server from nothing to nothing: installed, broken, upgraded and cleared, under a systemd (docs/operations.md)."""

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.services import wait_for
from tests.services.rigs.people import Person
from tests.stack.follower import Follower
from tests.systemd.machine import ROOT, Machine

INSTALL = "/root/checkout/ops/install"
MANAGE = "/opt/message-flow/current/ops/manage"
NODES = ("message-flow-ws@9101", "message-flow-ws@9102")
SERVERS = ("message-flow-web", "message-flow-relay", *NODES)
# Until the watchdog sees it, until it is dead, and until the new process serves.
HANG_SECS = 60 + 5 + 30
EXPOSURE_MAX = 1.5
TABS = 20
EVENTS_A_SEC = 20

_PUBLISH = f"""
import itertools, pathlib, time
from apps.realtime import EVERYONE, notify
for number in itertools.count(1):
    notify(EVERYONE, "load/EVENT", number)
    print(number, flush=True)
    time.sleep(1 / {EVENTS_A_SEC})
"""


def find(machine: Machine) -> set[str]:
    """Files, users, units, and what the broker and the database hold, as far as they have our name."""
    names = machine.run(
        *(
            "find",
            "/",
            "-xdev",
            "(",
            "-path",
            "/proc",
            "-o",
            "-path",
            "/sys",
            "-o",
            "-path",
            "/root/checkout",
            ")",
            "-prune",
        ),
        *("-o", "-iname", "*message[-_]flow*", "-print"),
    )
    found = set(names.stdout.split("\n"))
    found |= {
        line for line in machine.run("cat", "/etc/passwd", "/etc/group").stdout.split("\n") if "message-flow" in line
    }
    found |= set(machine.run("systemctl", "list-units", "--all", "--no-legend", "message-flow*").stdout.split("\n"))
    return found - {""}


def notified(machine: Machine, follower: Follower, event_id: str) -> None:
    """An event from a shell reaches the tab."""
    follower.wait_online(60)
    machine.run(MANAGE, "realtime", "notify", "--user", "alice", "--id", event_id)
    follower.wait_for_event(event_id, 30)


def pids(machine: Machine) -> list[str]:
    return machine.properties(SERVERS, "MainPID")


def releases(machine: Machine) -> list[str]:
    """Where each of the processes works."""
    return [machine.run("readlink", f"/proc/{pid}/cwd").stdout.strip() for pid in pids(machine)]


@pytest.fixture(scope="session")
def before(bare: Machine) -> set[str]:
    """What has our name before the installation."""
    return find(bare)


def test_the_site_is_up(before: set[str], server: Machine, alice: Person, follower: Follower) -> None:
    assert before == set()
    assert server.properties(SERVERS, "ActiveState") == ["active"] * 4
    assert alice.get("/").status == 200
    page = Person("https://localhost").get("/accounts/login/").body
    [style] = re.findall(r'href="(/static/css/site\.[0-9a-f]{12}\.css)"', page)
    assert "immutable" in alice.get(style).headers["Cache-Control"]
    assert alice.get("/metrics").status == 404
    # Whoever Prometheus is told to ask answers it: nodes, web process, relay, broker.
    targets = re.findall(r"127\.0\.0\.1:\d+", (ROOT / "ops/prometheus/prometheus.yml").read_text())
    assert len(targets) == 5
    for target in targets:
        asked = Person(f"http://{target}").get("/metrics")
        assert (asked.status, bool(re.search("^(realtime|rabbitmq)_", asked.body, re.MULTILINE))) == (200, True), target
    notified(server, follower, "first/EVENT")


@pytest.mark.parametrize("unit", [*SERVERS, "message-flow-news", "message-flow-prune"])
def test_the_running_systemd_finds_little_to_say(server: Machine, unit: str) -> None:
    said = server.run(
        "systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSURE_MAX * 10:.0f}", unit, check=False
    )
    assert said.returncode == 0, said.stdout[-300:]


def test_the_doctor_finds_nothing_that_fails(server: Machine, alice: Person) -> None:
    urls = ("--url", "http://127.0.0.1:9101", "--url", "http://127.0.0.1:9102")
    server.run(MANAGE, "realtime", "doctor", "--role", "web", "--nginx", "/etc/nginx", *urls, "--user", "alice")
    server.run("env", "MANAGE_BROKER=AMQP_URL_NODE", MANAGE, "realtime", "doctor", "--role", "node")


def test_secrets_are_for_root_and_the_process_alone(server: Machine) -> None:
    secrets = [
        server.run("cat", f"/etc/message-flow/credentials/{name}").stdout.strip()
        for name in ("SECRET_KEY", "AMQP_URL_NODE")
    ]
    for pid in pids(server):
        environ = server.run("cat", f"/proc/{pid}/environ").stdout
        assert "CREDENTIALS_DIRECTORY" in environ
        assert not any(secret in environ for secret in secrets)
    for path in ("/etc/message-flow/credentials/SECRET_KEY", "/run/credentials/message-flow-web.service/SECRET_KEY"):
        assert server.run("runuser", "-u", "www-data", "--", "cat", path, check=False).returncode != 0
        assert server.run("runuser", "-u", "postgres", "--", "cat", path, check=False).returncode != 0
    # Who reaches the web socket is believed about the address of the client.
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('/run/message-flow/web.sock')"
    for user, may in (("www-data", True), ("postgres", False)):
        done = server.run("runuser", "-u", user, "--", "python3", "-c", connect, check=False)
        assert (done.returncode == 0) == may


def test_the_broker_lets_each_user_do_its_own_and_no_more(server: Machine) -> None:
    assert server.run("rabbitmqctl", "-q", "list_users", "--no-table-headers").stdout.split() == [
        "message-flow-node",
        "[]",
        "message-flow-publish",
        "[]",
    ]
    # Its network is ours: whoever listens on 5672 and 15692, 1628 and 3D4C there, does it on 127.0.0.1.
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().split("\n")[1:-1]
    ]
    for port in ("1628", "3D4C"):
        assert [line[1] for line in lines if line[1].endswith(f":{port}") and line[3] == "0A"] == [f"0100007F:{port}"]


def test_running_it_again_changes_nothing(server: Machine) -> None:
    started = pids(server)
    assert "nothing to do" in server.run(INSTALL).stdout
    assert pids(server) == started


def test_the_timers_jobs_run_within_their_walls(server: Machine, follower: Follower) -> None:
    for job in ("message-flow-news", "message-flow-prune"):
        server.run("systemctl", "start", job)
        assert server.property(job, "Result") == "success"
    follower.wait_for_event("news/PUBLISHED", 30)
    timers = server.run("systemctl", "list-timers", "--no-legend", "message-flow-*").stdout
    assert len(timers.strip().split("\n")) == 2


@pytest.mark.parametrize("unit", SERVERS)
def test_what_is_killed_is_back(server: Machine, follower: Follower, unit: str) -> None:
    killed = server.property(unit, "MainPID")
    server.run("kill", "-KILL", killed)
    wait_for(lambda: server.property(unit, "MainPID") not in ("0", killed), 30, f"{unit} is back")
    wait_for(lambda: server.property(unit, "ActiveState") == "active", 30, f"{unit} is ready")
    notified(server, follower, f"after/{unit}")


def test_what_hangs_is_ended_by_its_watchdog_and_is_back(server: Machine, follower: Follower) -> None:
    hung = pids(server)
    server.run("kill", "-STOP", *hung)
    for unit, pid in zip(SERVERS, hung, strict=True):
        wait_for(lambda: server.property(unit, "MainPID") not in ("0", pid), HANG_SECS, f"{unit} is back")  # noqa: B023
        wait_for(lambda: server.property(unit, "ActiveState") == "active", 30, f"{unit} is ready")  # noqa: B023
        journal = server.run("journalctl", "--no-pager", "--unit", unit).stdout
        assert "Watchdog timeout" in journal
        # Where it hung.
        assert "most recent call first" in journal
    notified(server, follower, "after/HANG")


def configured(machine: Machine) -> str:
    """Each file of systemd's and nginx's, and since when it has been there; and where `current` leads."""
    places = ("/etc/systemd/system", "/etc/nginx/conf.d", "/opt/message-flow/current")
    return machine.run("find", *places, "!", "-type", "d", "-printf", "%p %T@ %l\n").stdout


@pytest.fixture
def checkout(server: Machine) -> Iterator[Path]:
    """The checkout to make mistakes in; whole again afterwards."""
    checkout = server.tree / "root/checkout"
    kept = server.tree / "root/kept"
    shutil.copytree(checkout, kept)
    yield checkout
    shutil.rmtree(checkout)
    kept.rename(checkout)


_MIGRATION = """
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [("demo", "0003_news_are_inert")]
    operations = [migrations.RunSQL("SELECT * FROM a_mistake")]
"""


@pytest.mark.parametrize(
    ("module", "text"),
    [("apps/demo/views.py", "raise RuntimeError('a_mistake')\n"), ("apps/demo/migrations/0004_bad.py", _MIGRATION)],
)
def test_a_release_that_cannot_run_changes_nothing(server: Machine, checkout: Path, module: str, text: str) -> None:
    started, ran, had = pids(server), releases(server), configured(server)
    (checkout / module).write_text(text)
    for part in (
        "ops/systemd/message-flow-web.service",
        "ops/systemd/message-flow.target",
        "ops/nginx/message-flow.conf",
    ):
        (checkout / part).write_text((checkout / part).read_text() + "# new\n")
    failed = server.run(INSTALL, check=False)
    assert failed.returncode != 0
    assert "a_mistake" in failed.stdout + failed.stderr
    assert (pids(server), releases(server), configured(server)) == (started, ran, had)
    # Nor is the one that runs taken for one that is to be finished.
    assert "nothing to do" in server.run("/opt/message-flow/current/ops/install").stdout


def test_a_release_that_does_not_become_ready_leaves_the_way_back(
    server: Machine, checkout: Path, follower: Follower
) -> None:
    [good] = set(releases(server))
    # Nothing that a check would find.
    node = checkout / "ops/systemd/message-flow-ws@.service"
    node.write_text(node.read_text().replace("/daphne ", "/daphne --a-mistake "))
    # The second run must not take the broken one for the one to go back to.
    for _ in range(2):
        failed = server.run(INSTALL, check=False)
        assert failed.returncode != 0
        assert f"Go back: {good}/ops/install" in failed.stderr
        # The other node waits for its turn.
        not_reached = server.property(NODES[1], "MainPID")
        assert server.run("readlink", f"/proc/{not_reached}/cwd").stdout.strip() == good
    assert "runs: https" in server.run(f"{good}/ops/install").stdout
    assert set(releases(server)) == {good}
    assert "nothing to do" in server.run(f"{good}/ops/install").stdout
    notified(server, follower, "after/BROKEN")


@pytest.fixture
def tabs(alice: Person) -> Iterator[list[Follower]]:
    with ExitStack() as stack:
        tabs = [stack.enter_context(Follower("wss://localhost/websocket", alice)) for _ in range(TABS)]
        for tab in tabs:
            tab.wait_online(60)
        yield tabs


def test_an_upgrade_under_load_loses_nothing_and_repeats_nothing(
    server: Machine, alice: Person, tabs: list[Follower]
) -> None:
    old = releases(server)
    # nginx would have told of a web process that was away.
    answers: list[int] = []
    with server.start(MANAGE, "shell", "--command", _PUBLISH) as publisher:
        assert publisher.stdout is not None
        wait_for(lambda: all("load/EVENT" in tab.ids for tab in tabs), 30, "events arrive")
        style = server.tree / "root/checkout/static/css/site.css"
        style.write_text(style.read_text() + "/* new */\n")
        with server.start(INSTALL) as upgrade:
            while upgrade.poll() is None:
                answers.append(alice.get("/accounts/profile/").status)
            assert upgrade.stdout is not None
            assert upgrade.returncode == 0, upgrade.stdout.read()
        server.run("systemctl", "stop", "message-flow-manage-*")
        sent = int(publisher.stdout.read().split()[-1])
    new = releases(server)
    assert len(set(new)) == 1
    assert set(new).isdisjoint(old)
    assert set(answers) == {200}
    for tab in tabs:
        wait_for(lambda: len(load(tab)) >= sent or load(tab)[-1] == sent, 30, f"the last event ({sent}) arrives")  # noqa: B023
    for tab in tabs:
        came = load(tab)
        assert came == list(range(came[0], sent + 1))
        assert tab.connects > 1 or tab.codes == []
        assert set(tab.codes) <= {4001}
    # Everybody was on one of the two nodes, and both were started anew.
    assert all(tab.codes for tab in tabs)


def load(tab: Follower) -> list[int]:
    return [event["data"] for event in tab.events if event["id"] == "load/EVENT"]


def test_going_back_is_the_old_release_s_own_command(server: Machine, follower: Follower) -> None:
    running = server.run("readlink", "/opt/message-flow/current").stdout.strip()
    [old] = [name for name in server.run("ls", "/opt/message-flow/releases").stdout.split() if name not in running]
    server.run(f"/opt/message-flow/releases/{old}/ops/install")
    assert set(releases(server)) == {f"/opt/message-flow/releases/{old}"}
    notified(server, follower, "after/RETURN")


def test_uninstalling_asks_first_and_leaves_nothing(server: Machine, before: set[str]) -> None:
    refused = server.run(INSTALL, "--uninstall", check=False)
    assert refused.returncode == 1
    assert server.properties(SERVERS, "ActiveState") == ["active"] * 4
    server.run(INSTALL, "--uninstall", "--yes")
    assert find(server) == before
    assert "message" not in server.run("rabbitmqctl", "-q", "list_vhosts").stdout
    assert "message" not in server.run("rabbitmqctl", "-q", "list_users").stdout
    assert "message" not in server.run("runuser", "-u", "postgres", "--", "psql", "-lAt").stdout
    assert server.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"
