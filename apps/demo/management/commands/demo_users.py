"""Creates the three people and the articles of the demo site (docs/demo.md)."""

import secrets
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from apps.demo.models import Article

NAMES: Final = ("alice", "bob", "carol")
# She may open the admin and send to everybody.
STAFF: Final = "alice"

ARTICLES: Final = (
    (
        "alice",
        "How an event travels",
        "A view calls push(). After the transaction has committed, a thread of the web process hands the event to the "
        "broker, and every server that holds one of your tabs gets a copy. Open this page in two windows, comment in "
        "one, and watch the other.",
    ),
    (
        "bob",
        "Why nothing polls",
        "A page that asks every few seconds is always late and never idle. This one keeps a socket open and is told. "
        "Look at the network tab of your browser: one request to start a task, and silence until it is done.",
    ),
    (
        "carol",
        "Comments from anywhere",
        "A comment notifies its article's author whether it was saved on this page, in the admin or in a shell: a "
        "signal receiver sends the event, not the view.",
    ),
)


class Command(BaseCommand):
    """Safe to run again: what exists is kept."""

    help = "Create the demo users alice, bob and carol, and a few articles (demo sites only)."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the names and the password that opens them."""
        if not settings.DEMO:
            raise CommandError("demo_users makes accounts with a shared password: set DEMO=1 to allow it.")
        password, must_fit = self._password()
        for name in NAMES:
            self._user(name, password, must_fit)
        if not Article.objects.exists():
            users = {user.username: user for user in User.objects.filter(username__in=NAMES)}
            for name, title, body in ARTICLES:
                Article.objects.create(author=users[name], title=title, body=body)
        self.stdout.write(
            f"Sign in as {', '.join(NAMES[:-1])} or {NAMES[-1]}, password: {password}\n"
            f"{STAFF} is staff: she may open /admin/ and send to everybody."
        )

    def _password(self) -> tuple[str, bool]:
        """The password, and whether users who have another one get it."""
        if settings.DEMO_PASSWORD:
            return str(settings.DEMO_PASSWORD), True
        # Kept, so that the second start prints the password that the first one made up.
        kept = Path(settings.BASE_DIR) / "run" / "demo-password"
        if kept.exists():
            return kept.read_text().strip(), False
        password = secrets.token_urlsafe(9)
        kept.parent.mkdir(exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(password + "\n")
        return password, True

    def _user(self, name: str, password: str, must_fit: bool) -> None:
        staff = name == STAFF
        user, created = User.objects.get_or_create(
            username=name, defaults={"is_staff": staff, "is_superuser": staff, "email": f"{name}@example.com"}
        )
        # A password that fits is left alone: setting it again would end every session of the user.
        if not created and user.check_password(password):
            return
        if created or must_fit:
            user.set_password(password)
            user.save(update_fields=["password"])
        else:
            self.stdout.write(f"{name} keeps another password; DEMO_PASSWORD sets it anew.")
