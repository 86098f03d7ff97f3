"""The wheel, adopted by another project in three lines (docs/architecture.md).

`scratch_project` stands for the others' projects: a user model with a UUID for a key and no user name, a sign-in and a
socket of its own, a second database. Nothing of this repository but the wheel is in reach of it.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from websockets.asyncio.client import connect

from ops.services import Process, free_port
from tests.services.rigs.clients import Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import BIN, ROOT, Node
from tests.services.rigs.target import claims_of

SCRATCH: Final = Path(__file__).parent / "scratch_project"
# The files in the docs, by their first line; the project there is called mysite.
_DOCS_FILE: Final = r"```python\n# mysite/{}\n(.*?)```"
EMAIL, PASSWORD = "alice@shop.example", "password-of-the-shop"
_COMMAND_SECS: Final = 60

# What each line of the adoption is, and by which words `check` asks for it where it is missing.
LINES: Final = {
    "INSTALLED_APPS": ("settings.py", '    "message_flow",\n', "add 'message_flow' to INSTALLED_APPS"),
    "the ASGI application": (
        "asgi.py",
        "application = realtime_application(application)\n",
        "from message_flow.asgi import application",
    ),
    "the URLs": ("urls.py", '    path("", include("message_flow.urls")),\n', 'include("message_flow.urls")'),
    "daphne": ("settings.py", '    "daphne",\n', 'Put "daphne" first in INSTALLED_APPS'),
    "ASGI_APPLICATION": ("settings.py", 'ASGI_APPLICATION = "shop.asgi.application"\n', "ASGI_APPLICATION is not set"),
    "the key": (
        "settings.py",
        'REALTIME_SECRET = "token-key-of-the-scratch-project-" + "x" * 40\n',
        "REALTIME_SECRET is not set",
    ),
}


class Project:
    """A copy of the scratch project in a folder of its own, with the wheel on its path."""

    def __init__(self, folder: Path, library: Path, amqp_url: str = "") -> None:
        shutil.copytree(SCRATCH, folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{library}:{folder}",
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "AMQP_URL": amqp_url,
        }

    def leave_out(self, module: str, line: str) -> None:
        """Take a line out of one of its modules."""
        path = self.folder / "shop" / module
        text = path.read_text()
        assert text.count(line) == 1
        path.write_text(text.replace(line, ""))

    def take_from_docs(self, page: str, module: str) -> None:
        """Put a file of the docs in the place of one of its modules, word for word."""
        text = (ROOT / page).read_text()
        (code,) = re.findall(_DOCS_FILE.format(re.escape(module)), text, re.DOTALL)
        (self.folder / "shop" / module).write_text(code.replace("mysite", "shop"))

    def run(self, *arguments: str, tool: str = "django") -> subprocess.CompletedProcess[str]:
        """A command of Django's, as by the project's manage.py, or of another tool."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", tool, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECS,
            check=False,
        )

    def manage(self, *arguments: str) -> str:
        """The same where it has to work; its output."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prepare(self) -> None:
        """Both databases, and alice in the first one."""
        self.manage("migrate", "--verbosity=0")
        self.manage("migrate", "--verbosity=0", "--database=warehouse")
        made = f"u = User(email={EMAIL!r}); u.set_password({PASSWORD!r}); u.save()"
        self.manage("shell", "-c", f"from shop.models import User; {made}")

    def start(self) -> Node:
        """One `daphne` of the project."""
        port = free_port()
        command: list[str | Path] = [
            BIN / "daphne",
            "-v",
            "0",
            "-b",
            "127.0.0.1",
            "-p",
            str(port),
            "shop.asgi:application",
        ]
        return Node(Process(command, self.folder / "daphne.log", env=self.env, cwd=self.folder), port)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with what the environment has."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        timeout=_COMMAND_SECS,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def library(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed."""
    folder = tmp_path_factory.mktemp("library")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(wheel)],
        capture_output=True,
        timeout=_COMMAND_SECS,
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def migrated(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with its databases: copied by those that change something."""
    project = Project(tmp_path_factory.mktemp("shop") / "project", library)
    project.prepare()
    return project


@pytest.fixture(params=["memory", "rabbitmq"])
def shop(request: pytest.FixtureRequest, migrated: Project, library: Path, tmp_path: Path) -> Iterator[Node]:
    """The project's server, on either broker."""
    amqp_url = request.getfixturevalue("amqp_url") if request.param == "rabbitmq" else ""
    project = Project(tmp_path / "project", library, amqp_url)
    for database in migrated.folder.glob("*.sqlite3"):
        shutil.copy(database, project.folder)
    node = project.start()
    try:
        node.wait_ready()
        yield node
        assert node.stop() == 0
    finally:
        if node.process.running:
            node.kill9()
        print(node.process.log.read_text())


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tree = ROOT / "apps" / "realtime"
    sources = {path.relative_to(tree) for path in tree.rglob("*") if path.suffix in (".py", ".typed", ".html", ".txt")}
    scripts = {path.relative_to(ROOT / "static" / "js") for path in (ROOT / "static" / "js").rglob("*.js")}
    expected = {f"message_flow/{path}" for path in sources}
    expected |= {f"message_flow/static/message_flow/js/{path}" for path in scripts}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {
        "message_flow/py.typed",
        "message_flow/migrations/0001_sign_in.py",
        "message_flow/templates/realtime/admin/sessions.html",
        "message_flow/templates/realtime/inbox.html",
    } <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_project_tests_what_it_sends(library: Path, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", library, "amqp://nobody:nothing@127.0.0.1:1/")
    project.take_from_docs("docs/testing.md", "test_orders.py")
    project.take_from_docs("docs/testing.md", "tests.py")
    # Ours is found by its entry point; that of asyncio asks for a setting, which with -W error is an end.
    tested = project.run("shop/test_orders.py", "-p", "no:cacheprovider", "-p", "no:asyncio", tool="pytest")
    assert (tested.returncode, " 4 passed" in tested.stdout) == (0, True), tested.stdout + tested.stderr
    tested = project.run("test", "shop.tests")
    assert "Ran 2 tests" in tested.stderr, tested.stderr
    assert tested.returncode == 0, tested.stderr


def test_the_project_stands_and_no_migration_is_missing(migrated: Project) -> None:
    assert "no issues" in migrated.manage("check")
    assert "No changes" in migrated.manage("makemigrations", "--check", "--dry-run")
    found = migrated.manage("findstatic", "message_flow/js/realtime.js", "message_flow/js/websocket.js")
    assert found.count("Found") == 2
    # Nothing of the name that the library has in its own tree.
    assert migrated.manage("shell", "-v0", "-c", "import sys; print('apps' in sys.modules)").strip() == "False"


def test_a_page_of_the_project_carries_its_cursor(migrated: Project) -> None:
    printed = migrated.manage(
        *("shell", "-v0", "-c"),
        "from django.http import HttpRequest\n"
        "from django.template import Context, Engine\n"
        "from django.template.backends.django import get_installed_libraries\n"
        "from message_flow import with_cursor\n"
        "engine = Engine(libraries=get_installed_libraries())\n"
        "page = engine.from_string('{% load realtime %}{% realtime_cursor %}')\n"
        "print(with_cursor(lambda request: page.render(Context({'request': request})))(HttpRequest()))",
    )
    assert printed.strip() == '<script id="realtime-cursor" type="application/json">{}</script>'


@pytest.mark.parametrize("line", LINES)
def test_check_names_the_line_that_is_missing(library: Path, tmp_path: Path, line: str) -> None:
    module, text, words = LINES[line]
    project = Project(tmp_path / "project", library)
    project.leave_out(module, text)
    done = project.run("check", "--fail-level", "WARNING")
    assert done.returncode != 0
    assert words in done.stdout + done.stderr


def test_a_deployment_without_a_broker_is_warned(migrated: Project) -> None:
    done = migrated.run("check", "--deploy", "--fail-level", "WARNING")
    assert "REALTIME_AMQP_URL is not set" in done.stderr


async def test_the_asgi_module_of_the_readme_serves(migrated: Project, library: Path, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", library)
    project.take_from_docs("README.md", "asgi.py")
    for database in migrated.folder.glob("*.sqlite3"):
        shutil.copy(database, project.folder)
    assert "no issues" in project.manage("check")
    node = project.start()
    try:
        await asyncio.to_thread(node.wait_ready)
        alice = Person(node.http)
        alice.get("/enter/")
        alice.post("/enter/", {"email": EMAIL, "password": PASSWORD})
        tab = await Tab.open(node.websocket, alice.token())
        await asyncio.to_thread(alice.post, "/ship/", {})
        assert (await tab.wait_for_event("order/SHIPPED"))["id"] == "order/SHIPPED"
        await tab.close()
        assert node.stop() == 0
    finally:
        if node.process.running:
            node.kill9()


async def test_the_project_pushes_to_its_users(shop: Node) -> None:
    alice = Person(shop.http)
    alice.get("/enter/")
    assert alice.get("/socket_auth_token").status == 401
    assert alice.post("/enter/", {"email": EMAIL, "password": PASSWORD}).body == "welcome"
    token = alice.token()
    claims = claims_of(token)
    assert claims["username"] == EMAIL
    tab = await Tab.open(shop.websocket, token, topics=["order-7", "order-8"])
    assert tab.auth_ok is not None
    states = {stream: told["state"] for stream, told in tab.auth_ok["data"]["streams"].items()}
    user = str(UUID(claims["sub"]))
    assert states == {f"user.{user}": "new", "all": "new", "topic.order-7": "new", "topic.order-8": "denied"}

    for path, fields in (
        ("/ship/", {}),
        ("/stock/", {"name": "lost", "fail": "1"}),
        ("/stock/", {"name": "kept"}),
    ):
        assert (await asyncio.to_thread(alice.post, path, fields)).status == 200
    stocked = await tab.wait_for_event("item/STOCKED")
    assert stocked["data"]["name"] == "kept"
    changed = await tab.wait_for_event("order/CHANGED")
    assert changed["stream"] == "topic.order-7"
    assert (await tab.wait_for_event("order/SHIPPED"))["data"] == {"customer": user}
    assert sorted(tab.ids) == ["item/STOCKED", "order/CHANGED", "order/SHIPPED"]

    # The project's own socket is where it was.
    cookie = {"Cookie": f"sessionid={alice.cookie('sessionid')}"}
    async with connect(f"ws://127.0.0.1:{shop.port}/ws/room/", additional_headers=cookie, proxy=None) as room:
        assert await room.recv() == f"hello {EMAIL}"
        await room.send("echo")
        assert await room.recv() == "echo"
    await tab.close()
