"""The settings and the files of this checkout, as far as nothing else has to run (docs/doctor.md)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured

from ...conf import realtime_settings
from .findings import Finding, fail, ok, one_line, skip, warn

# Where both the wheel and this tree have the client.
CLIENT_FOLDER: Final = "message_flow/js"
_OURS: Final = "message_flow."


def look_at_settings() -> Iterator[Finding]:
    """What `manage.py check --deploy` says, ours in full."""
    try:
        found = [one for one in run_checks(include_deployment_checks=True) if not one.is_silenced()]
    except Exception as error:
        # They load the project's URLs and all that these import.
        yield fail(f"the system checks do not run: {one_line(error)}", "manage.py check shows where that comes from")
        return
    errors = [one for one in found if one.level >= ERROR]
    warnings = [one for one in found if WARNING <= one.level < ERROR]
    yield from (fail(*_told(one)) for one in errors)
    yield from (warn(*_told(one)) for one in warnings if _is_ours(one))
    others = [str(one.id) for one in warnings if not _is_ours(one)]
    if others:
        yield warn(
            f"Django and other apps have {len(others)} warnings for a deployment: {', '.join(others)}",
            "manage.py check --deploy says them in full",
        )
    if not errors:
        yield ok("manage.py check --deploy finds no error")
        count = len(realtime_settings().secrets)
        yield ok("one key signs tokens" if count == 1 else f"one key signs tokens, {count} are accepted")


def look_at_client() -> Iterator[Finding]:
    """The script that browsers get: that of this release, or one that was collected before an upgrade."""
    if not apps.is_installed("django.contrib.staticfiles"):
        yield skip(
            "the project does not use django.contrib.staticfiles",
            f"compare what it serves as {CLIENT_FOLDER}/ with the package's files",
        )
        return
    package = _client_of_package()
    if not package:
        yield fail(
            f"no file of {CLIENT_FOLDER}/ is found by STATICFILES_FINDERS",
            "keep django.contrib.staticfiles.finders.AppDirectoriesFinder there",
        )
        return
    if not settings.STATIC_ROOT:
        yield warn(
            "STATIC_ROOT is not set: nothing was collected that a web server could serve",
            "set it and run manage.py collectstatic",
        )
        return
    folder = Path(settings.STATIC_ROOT) / CLIENT_FOLDER
    missing = [name for name in package if not (folder / name).is_file()]
    stale = [name for name in package if name not in missing and (folder / name).read_bytes() != package[name]]
    if missing or stale:
        names = ", ".join(sorted(missing + stale))
        yield fail(
            f"STATIC_ROOT holds another client than this release: {names} are missing or differ"
            if len(missing) < len(package)
            else f"STATIC_ROOT = {settings.STATIC_ROOT} holds no client",
            "run manage.py collectstatic, and let nginx serve that folder",
        )
    else:
        yield ok(f"STATIC_ROOT holds the client of this release, {len(package)} files")


def _client_of_package() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    # It looks into folders that nobody made, too.
    for finder in finders.get_finders():
        for path, storage in finder.list([]):
            folder, _, name = _full_name(path, storage).rpartition("/")
            if folder == CLIENT_FOLDER and name.endswith(".js") and name not in found:
                with storage.open(path) as file:
                    found[name] = file.read()
    return found


def _full_name(path: str, storage: object) -> str:
    # A folder of STATICFILES_DIRS may have been given a prefix.
    prefix = getattr(storage, "prefix", None)
    return f"{prefix}/{path}" if prefix else path


def _told(message: CheckMessage) -> tuple[str, str]:
    return f"{message.msg} ({message.id})", str(message.hint or "see manage.py check --deploy")


def _is_ours(message: CheckMessage) -> bool:
    return str(message.id).startswith(_OURS)


def secrets_of_site() -> list[str]:
    """What must never be shown: the keys, and the passwords of database and broker."""
    found = [settings.SECRET_KEY, *getattr(settings, "SECRET_KEY_FALLBACKS", ())]
    found += [str(one.get("PASSWORD") or "") for one in settings.DATABASES.values()]
    try:
        conf = realtime_settings()
    except ImproperlyConfigured:
        return found  # its own messages quote none
    found += conf.secrets
    for password in (urlsplit(url).password or "" for url in conf.amqp_urls):
        found += [password, unquote(password)]
    return found
