"""The settings and the files, as the doctor sees them (docs/doctor.md)."""

from pathlib import Path

import pytest
from pytest_django import Settings

from apps.realtime.management.doctor.findings import Finding, Status
from apps.realtime.management.doctor.site import look_at_client, look_at_settings, secrets_of_site

CLIENT = Path(__file__).resolve().parents[5] / "static/js"


def found_in_settings() -> dict[Status, list[str]]:
    found: dict[Status, list[str]] = {}
    for finding in look_at_settings():
        found.setdefault(finding.status, []).append(finding.found)
    return found


def test_it_says_what_check_deploy_says(settings: Settings) -> None:
    settings.REALTIME_SECRET = ["a key of fifty characters, all different: 0123456789", "x" * 40]
    found = found_in_settings()
    assert Status.FAIL not in found
    assert any("(message_flow.W021)" in told for told in found[Status.WARN])
    # Of others one line.
    assert [told for told in found[Status.WARN] if "security.W" in told] == found[Status.WARN][-1:]
    assert "one key signs tokens, 2 are accepted" in found[Status.OK]
    settings.REALTIME_SECRET = "x" * 40
    assert "one key signs tokens" in found_in_settings()[Status.OK]


def test_an_error_of_the_checks_fails(settings: Settings) -> None:
    settings.REALTIME_SECRET = "short"
    settings.ASGI_APPLICATION = None
    found = found_in_settings()
    assert {told.rpartition("(")[2] for told in found[Status.FAIL]} == {"message_flow.E001)", "message_flow.E003)"}
    assert Status.OK not in found


def test_urls_that_cannot_be_loaded_are_a_finding(settings: Settings) -> None:
    settings.ROOT_URLCONF = "nowhere.urls"
    [told] = found_in_settings()[Status.FAIL]
    assert told.startswith("the system checks do not run: ModuleNotFoundError: No module named 'nowhere'")


def test_what_is_silenced_is_not_said(settings: Settings) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["message_flow.W021"]
    assert not any("W021" in told for told in found_in_settings()[Status.WARN])


@pytest.fixture
def static_root(settings: Settings, tmp_path: Path) -> Path:
    """A folder as `collectstatic` leaves it."""
    folder = tmp_path / "message_flow/js"
    folder.mkdir(parents=True)
    for file in CLIENT.glob("*.js"):
        (folder / file.name).write_bytes(file.read_bytes())
    settings.STATIC_ROOT = str(tmp_path)
    return folder


def client() -> Finding:
    [finding] = look_at_client()
    return finding


def test_the_collected_client_is_that_of_this_release(static_root: Path) -> None:
    found = client()
    assert (found.status, found.found.rpartition(", ")[0]) == (
        Status.OK,
        "STATIC_ROOT holds the client of this release",
    )


def test_a_client_of_before_the_upgrade_is_found(static_root: Path) -> None:
    (static_root / "session.js").unlink()
    (static_root / "realtime.js").write_text("// older")
    found = client()
    assert found.status is Status.FAIL
    assert "realtime.js, session.js are missing or differ" in found.found
    assert "collectstatic" in found.advice


def test_nothing_was_collected(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = str(tmp_path)
    assert (client().status, "holds no client" in client().found) == (Status.FAIL, True)
    settings.STATIC_ROOT = None
    assert (client().status, "STATIC_ROOT is not set" in client().found) == (Status.WARN, True)


def test_a_project_that_serves_static_files_in_another_way(settings: Settings) -> None:
    settings.STATICFILES_DIRS = []
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    assert (client().status, "STATICFILES_FINDERS" in client().found) == (Status.FAIL, True)
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django.contrib.staticfiles"]
    assert client().status is Status.SKIP


def test_every_secret_is_known(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = ["old-django-key"]
    settings.REALTIME_SECRET = ["k" * 40, "l" * 40]
    settings.REALTIME_AMQP_URL = "amqp://u:p%40ssword@host/"
    secrets = set(secrets_of_site())
    assert secrets >= {settings.SECRET_KEY, "old-django-key", "k" * 40, "l" * 40, "p%40ssword", "p@ssword"}
    settings.REALTIME_SECRET = "short"
    assert settings.SECRET_KEY in secrets_of_site()
