"""With hashed names each ES module finds the modules that it imports."""

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, staticfiles_storage
from django.core.management import call_command
from pytest_django import Settings

IMPORT = re.compile(r"""^(?:import|export)\b[^;]*?\sfrom "(\.[^"]+)";""", re.MULTILINE)


@pytest.fixture
def collected(settings: Settings, tmp_path: Path) -> Path:
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "project.static.StaticFilesStorage"}}
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def test_every_import_is_a_hashed_file(collected: Path) -> None:
    assert isinstance(staticfiles_storage, ManifestStaticFilesStorage)
    todo = [collected / staticfiles_storage.stored_name("demo/page.js")]
    seen: set[Path] = set()
    while todo:
        module = todo.pop()
        seen.add(module)
        for target in IMPORT.findall(module.read_text()):
            imported = (module.parent / target).resolve()
            assert re.fullmatch(r"[a-z-]+\.[0-9a-f]{12}\.js", imported.name)
            assert imported.is_file()
            if imported not in seen:
                todo.append(imported)
    names = {module.name.split(".")[0] for module in seen}
    assert {"page", "realtime", "session", "codes", "backoff", "token"} <= names
