"""`manage.py demo_users`."""

import re
import stat
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.demo.models import Article

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.BASE_DIR = tmp_path
    settings.DEMO_PASSWORD = ""
    return tmp_path


def run() -> str:
    output = StringIO()
    call_command("demo_users", stdout=output)
    return output.getvalue()


def printed_password(output: str) -> str:
    match = re.search(r"password: (\S+)", output)
    assert match is not None
    return match[1]


def can_sign_in(password: str) -> list[str]:
    return [user.username for user in User.objects.order_by("username") if user.check_password(password)]


def test_a_made_up_password_is_printed_kept_and_private(folder: Path) -> None:
    password = printed_password(run())
    assert len(password) >= 12
    assert can_sign_in(password) == ["alice", "bob", "carol"]
    kept = folder / "run" / "demo-password"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert printed_password(run()) == password


def test_alice_is_staff_and_the_output_says_so() -> None:
    assert "alice is staff" in run()
    assert list(User.objects.filter(is_staff=True, is_superuser=True)) == [User.objects.get(username="alice")]


def test_a_given_password_is_used_and_not_stored(settings: Settings, folder: Path) -> None:
    settings.DEMO_PASSWORD = "given"
    assert printed_password(run()) == "given"
    assert can_sign_in("given") == ["alice", "bob", "carol"]
    assert not (folder / "run").exists()


def test_again_keeps_users_articles_and_sessions(settings: Settings) -> None:
    settings.DEMO_PASSWORD = "given"
    run()
    before = list(User.objects.order_by("pk").values_list("pk", "password"))
    articles = Article.objects.count()
    run()
    assert list(User.objects.order_by("pk").values_list("pk", "password")) == before
    assert Article.objects.count() == articles > 0


def test_a_password_that_a_user_has_changed_is_kept_and_said() -> None:
    password = printed_password(run())
    bob = User.objects.get(username="bob")
    bob.set_password("bob's own")
    bob.save()
    assert "bob keeps another password" in run()
    assert can_sign_in("bob's own") == ["bob"]
    assert can_sign_in(password) == ["alice", "carol"]


def test_a_given_password_is_set_again(settings: Settings) -> None:
    run()
    settings.DEMO_PASSWORD = "given"
    run()
    assert can_sign_in("given") == ["alice", "bob", "carol"]


def test_a_lost_file_leads_to_a_password_that_works(folder: Path) -> None:
    run()
    (folder / "run" / "demo-password").unlink()
    assert can_sign_in(printed_password(run())) == ["alice", "bob", "carol"]


def test_demo_sites_only(settings: Settings) -> None:
    settings.DEMO = False
    with pytest.raises(CommandError, match="DEMO=1"):
        run()
    assert not User.objects.exists()
