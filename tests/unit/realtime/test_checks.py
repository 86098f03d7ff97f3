"""`manage.py check` names each line of the adoption that is missing (README)."""

from typing import Any

import pytest
from django.contrib import admin
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from pytest_django import Settings

from apps.realtime.asgi import application

# Named by dotted path in the tests below.
urlpatterns: list[Any] = []
no_socket = object()
with_socket = application(object())
HERE = __name__


def found(*, deploy: bool = False) -> dict[str, CheckMessage]:
    return {
        str(message.id): message
        for message in run_checks(include_deployment_checks=deploy)
        if str(message.id).startswith("message_flow.")
    }


def test_the_site_itself_lacks_nothing() -> None:
    assert found() == {}


def test_a_setting_that_cannot_work_is_named(settings: Settings) -> None:
    settings.REALTIME_SECRET = "short"
    settings.ASGI_APPLICATION = f"{HERE}.with_socket"
    messages = found()
    assert set(messages) == {"message_flow.E001"}
    assert "REALTIME_SECRET" in messages["message_flow.E001"].msg


def test_urls_load_with_a_setting_that_cannot_work(settings: Settings) -> None:
    # Else the checks end with a traceback, and none of them says which setting it is.
    settings.REALTIME_SECRET = "short"
    assert admin.site.get_urls()


class Router:
    """Sends the tables of the app elsewhere, in one of the ways that a router has."""

    def __init__(self, **answers: Any) -> None:
        for method, answer in answers.items():
            setattr(self, method, lambda *_, _answer=answer, **__: _answer)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"db_for_write": "other"}, "sends message_flow."),
        ({"allow_migrate": False}, "keeps the table of message_flow."),
    ],
)
def test_a_router_that_sends_durable_events_elsewhere_is_named(
    settings: Settings, answers: dict[str, Any], told: str
) -> None:
    settings.DATABASE_ROUTERS = [Router(**answers)]
    message = found()["message_flow.E006"]
    assert told in message.msg
    assert "'default'" in str(message.hint)


def test_a_router_that_keeps_them_where_they_belong_is_fine(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = [Router(db_for_write="default", db_for_read="replica", allow_migrate=None), Router()]
    assert found() == {}


def test_a_database_that_cannot_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "mysql")
    monkeypatch.setattr(connection, "display_name", "MySQL")
    assert "MySQL" in found()["message_flow.E005"].msg


def test_a_database_without_autocommit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    assert set(found()) == {"message_flow.E007"}


def test_urls_that_are_not_included_are_named(settings: Settings) -> None:
    settings.ROOT_URLCONF = HERE
    messages = found()
    assert set(messages) == {"message_flow.E002"}
    assert 'include("apps.realtime.urls")' in str(messages["message_flow.E002"].hint)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (None, "message_flow.E003"),
        ("", "message_flow.E003"),
        ("nowhere.application", "message_flow.E003"),
        ("nodots", "message_flow.E003"),
        (f"{HERE}.missing", "message_flow.E003"),
        (f"{HERE}.no_socket", "message_flow.E004"),
    ],
)
def test_an_asgi_application_without_the_socket_is_named(settings: Settings, path: str | None, error: str) -> None:
    settings.ASGI_APPLICATION = path
    messages = found()
    assert set(messages) == {error}
    assert "from apps.realtime.asgi import application as" in str(messages[error].hint)


def test_a_runserver_without_websockets_is_named(settings: Settings) -> None:
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "daphne"]
    assert set(found()) == {"message_flow.W001"}
