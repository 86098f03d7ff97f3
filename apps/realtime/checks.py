"""`manage.py check` names each line of the adoption that is missing, and settings that cannot work (README)."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from .conf import realtime_settings


@register(Tags.compatibility)
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The REALTIME_ settings."""
    try:
        realtime_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="message_flow.E001")]
    return []


@register(Tags.models)
def check_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Where durable events are stored."""
    try:
        alias = realtime_settings().database
    except ImproperlyConfigured:
        return []  # check_settings says which
    messages: list[CheckMessage] = []
    vendor = connections[alias].vendor
    if vendor not in ("postgresql", "sqlite"):
        messages.append(
            Error(
                f"REALTIME_DATABASE = {alias!r} is {connections[alias].display_name}, but events are numbered on "
                "PostgreSQL and SQLite only.",
                hint="Add a database of one of these two to DATABASES and name it in REALTIME_DATABASE.",
                id="message_flow.E005",
            )
        )
    if not connections[alias].settings_dict["AUTOCOMMIT"]:
        messages.append(
            Error(
                f"AUTOCOMMIT is off for REALTIME_DATABASE = {alias!r}: what numbers events would never commit.",
                hint="Leave AUTOCOMMIT on and use transaction.atomic(), or store events in another database.",
                id="message_flow.E007",
            )
        )
    from .models import (
        Acknowledged,
        Deployment,
        InboxItem,
        InboxMute,
        ScheduledEvent,
        StoredEvent,
        Stream,
        Unseen,
    )

    for model in (Stream, StoredEvent, Deployment, ScheduledEvent, InboxItem, InboxMute, Unseen, Acknowledged):
        elsewhere = _routed_elsewhere(model, alias)
        if elsewhere:
            messages.append(
                Error(
                    f"A database router {elsewhere}, but durable events live in REALTIME_DATABASE = {alias!r}.",
                    hint=f"Let db_for_write and allow_migrate name {alias!r} for the app message_flow, or "
                    "set REALTIME_DATABASE to the database that they name.",
                    obj=model,
                    id="message_flow.E006",
                )
            )
    return messages


@register(Tags.urls)
def check_urls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The include of the URLs."""
    try:
        reverse("realtime:socket_auth_token")
    except NoReverseMatch:
        urls = f"{_package()}.urls"
        return [
            Error(
                "The URLs of Message Flow are not included.",
                hint=f'Add path("", include("{urls}")) to urlpatterns of {settings.ROOT_URLCONF}.',
                id="message_flow.E002",
            )
        ]
    return []


@register(Tags.compatibility)
def check_asgi(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The ASGI application."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    hint = (
        f"In the ASGI module, in this order: django_app = get_asgi_application(); "
        f"from {_package()}.asgi import application as realtime_application; "
        f"application = realtime_application(django_app). "
        'In the settings: ASGI_APPLICATION = "<project>.asgi.application".'
    )
    if not path:
        return [Error("ASGI_APPLICATION is not set.", hint=hint, id="message_flow.E003")]
    try:
        application = import_string(path)
    except ImproperlyConfigured:
        return []  # a setting: check_settings says which
    except ImportError as error:
        return [Error(f"ASGI_APPLICATION {path!r} cannot be imported: {error}", hint=hint, id="message_flow.E003")]
    from .asgi import RealtimeApplication

    if not isinstance(application, RealtimeApplication):
        return [Error(f"{path} does not serve the socket.", hint=hint, id="message_flow.E004")]
    return []


@register(Tags.compatibility)
def check_runserver(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Django's own runserver has no WebSockets."""
    if apps.is_installed("daphne"):
        return []
    return [
        Warning(
            "manage.py runserver will not serve WebSockets.",
            hint='Put "daphne" first in INSTALLED_APPS.',
            id="message_flow.W001",
        )
    ]


def _package() -> str:
    return apps.get_app_config("message_flow").name


def _routed_elsewhere(model: type[Model], alias: str) -> str | None:
    # Each router's own word: without one, Django names the default database for whatever is not asked of it by name.
    # Reads do not matter: ours name the database, so that no replica is asked.
    for one in router.routers:
        choose = getattr(one, "db_for_write", None)
        chosen = choose(model) if choose is not None else None
        if chosen not in (None, alias):
            return f"sends {model._meta.label} to {chosen!r}"
    if not router.allow_migrate_model(alias, model):
        return f"keeps the table of {model._meta.label} out of {alias!r}"
    return None
