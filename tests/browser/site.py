"""The running site: `manage.py runserver` on a free port with a database and a broker socket of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, expect

from ops.services import free_port

ROOT: Final = Path(__file__).parents[2]
PASSWORD: Final = "correct horse battery staple"
# A cold start takes 3 s on two idle cores.
START_DEADLINE_SECS: Final = 60


class Site:
    """One server with its own data in `folder` and `settings` above the tests' own.

    Attributes:
        url: where it answers, without a slash at the end.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._log = folder / "server.log"
        self._environ = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.browser.site_settings",
            "PYTHONPATH": str(ROOT),
            "DEMO": "1",
            "DEBUG": "1",
            "HTTPS": "0",
            "AMQP_URL": "",
            "ALLOWED_HOSTS": "127.0.0.1",
            "SECRET_KEY": "django-key-of-the-tests-" + "x" * 40,
            "REALTIME_SECRET": "token-key-of-the-tests-" + "x" * 40,
            "DEMO_PASSWORD": PASSWORD,
            "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
            "TEST_LOCAL_SOCKET": str(folder / "realtime.sock"),
            **settings,
        }
        self.manage("migrate", "-v0")
        self.manage("demo_users")
        self.start()

    def start(self) -> None:
        """Start the server, at the same address and with the same data as before."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{self._port}"],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_ready()

    def kill(self) -> None:
        """The server dies at once."""
        self._process.kill()
        self._process.wait()

    def manage(self, *arguments: str) -> str:
        """Run a management command in a process of its own and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self._environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, code: str) -> str:
        """Run Python in `manage.py shell`, where models are imported."""
        return self.manage("shell", "-v0", "-c", "from django.contrib.auth.models import User\n" + code)

    def push(self, user: str, *events: tuple[str, object]) -> None:
        """Push events, each an id and data, to a user from a process of its own."""
        self.shell(
            "import json\n"
            "from apps.realtime import push\n"
            f"user = User.objects.get(username={user!r})\n"
            f"for event_id, data in json.loads({json.dumps(events)!r}):\n"
            "    push(user, event_id, data)"
        )

    def sign_in(self, page: Page, user: str, *, url: str | None = None) -> None:
        """Sign in by the page (at another address than the site's own) and wait until the socket is authenticated."""
        page.goto((url or self.url) + "/")
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        self.expect_online(page)

    def open(self, page: Page, path: str) -> None:
        """Go to a page that holds a socket and wait until it is authenticated."""
        page.goto(self.url + path)
        self.expect_online(page)

    def expect_online(self, page: Page) -> None:
        """Both indicators of the article."""
        expect(page.locator("#connected")).to_have_text("Online")
        expect(page.locator("#authenticated")).to_have_text("Yes")

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_SECS
        while True:
            try:
                with urllib.request.urlopen(self.url + "/readyz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise AssertionError(f"the site is not ready:\n{self._log.read_text()}") from None
                time.sleep(0.05)
