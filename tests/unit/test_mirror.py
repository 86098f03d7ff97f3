"""The unit tests mirror the source: who opens a module knows where its tests are (docs/architecture.md)."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "tests/unit"
MIRRORED = {"apps/realtime": "realtime", "project": "project"}

# Modules without a test file of their own, and where they are tested instead.
ELSEWHERE = {
    "apps/realtime/apps.py": "every test that starts Django",
    "apps/realtime/brokers/base.py": "it declares protocols and does nothing",
    "apps/realtime/brokers/rabbitmq/lane.py": "tests/services, against a real broker",
    "apps/realtime/brokers/rabbitmq/link.py": "tests/services, against a real broker",
    "apps/realtime/brokers/rabbitmq/listener.py": "tests/services, against a real broker",
    "apps/realtime/brokers/rabbitmq/publisher.py": "tests/services, against a real broker",
    "apps/realtime/core/actions.py": "it declares what the tests of sessions compare",
    "apps/realtime/core/errors.py": "the tests of what raises them",
    "apps/realtime/inbox/models.py": "the tests of what uses the tables",
    "apps/realtime/management/doctor/probe.py": "two names",
    "apps/realtime/node_models.py": "the tests of who asks and who answers",
    "apps/realtime/unseen/models.py": "the tests of what uses the tables",
    "apps/realtime/unseen/signal.py": "realtime/publishing/test_unseen.py",
    "apps/realtime/publishing/sql.py": "the tests of the statements that are made of it, on both databases",
    "apps/realtime/urls.py": "realtime/test_views.py",
    "apps/realtime/version.py": "one line; the wheel reads it",
    "project/asgi.py": "tests/stack",
    "project/wsgi.py": "tests/stack",
}


def modules(folder: str) -> set[str]:
    """Python files with code in them, but for migrations, as paths from the root."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" and "migrations" not in path.parts
    }


def source_of(test: Path, source: str, mirror: str) -> str:
    relative = test.relative_to(UNIT / mirror)
    return f"{source}/{relative.with_name(relative.name.removeprefix('test_'))}"


@pytest.mark.parametrize(("source", "mirror"), MIRRORED.items())
def test_each_module_has_its_tests_and_each_test_file_its_module(source: str, mirror: str) -> None:
    tested = {source_of(test, source, mirror) for test in (UNIT / mirror).rglob("test_*.py")}
    expected = modules(source) - ELSEWHERE.keys()
    assert (expected - tested, tested - expected) == (set(), set())


def test_each_exception_is_still_one() -> None:
    existing = set().union(*(modules(source) for source in MIRRORED))
    assert ELSEWHERE.keys() - existing == set()
