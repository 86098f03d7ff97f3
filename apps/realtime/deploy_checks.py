"""`manage.py check --deploy`: what is fine on a laptop and a hole, or a disappointment, on a server (docs/doctor.md).

Django's own checks of the same command look after cookies, HSTS and SECRET_KEY: they are not repeated here.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .conf import RealtimeSettings, realtime_settings
from .core.broker_urls import is_this_machine

# Of 48 random bytes in base64 about 40 differ; "x" * 48 has one, a word of a person ten.
SECRET_MIN_CHARACTERS: Final = 12
_WORDS_OF_EXAMPLES: Final = ("insecure", "development", "changeme", "change-me", "example", "secret")


@register(Tags.security, deploy=True)
def check_broker(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """One process is not a deployment."""
    if getattr(settings, "REALTIME_AMQP_URL", None):
        return []
    return [
        Warning(
            "REALTIME_AMQP_URL is not set: events are pushed to sockets of one process only. Those of others get "
            "durable events late, and no ephemeral ones.",
            hint="Set it to the RabbitMQ of this site, for example amqps://user:password@host/vhost.",
            id="message_flow.W002",
        )
    ]


@register(Tags.security, deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What the settings alone show."""
    try:
        conf = realtime_settings()
    except ImproperlyConfigured:
        return []  # check_settings says which
    return [*_database(conf), *_broker_urls(conf), *_secrets(conf), *_origins(conf)]


def _database(conf: RealtimeSettings) -> Iterator[CheckMessage]:
    if connections[conf.database].vendor == "sqlite":
        yield Warning(
            f"REALTIME_DATABASE = {conf.database!r} is SQLite: it has one writer at a time and lives on one machine.",
            hint="Use PostgreSQL.",
            id="message_flow.W021",
        )


def _broker_urls(conf: RealtimeSettings) -> Iterator[CheckMessage]:
    urls = [urlsplit(url) for url in conf.amqp_urls]
    if any(url.scheme != "amqps" and not is_this_machine(url.hostname) for url in urls):
        yield Warning(
            "REALTIME_AMQP_URL goes to another machine without TLS: whoever is on the way reads its password and all "
            "events.",
            hint="Use amqps:// (docs/brokers.md, TLS).",
            id="message_flow.W022",
        )
    if any((url.username or "guest") == "guest" for url in urls):
        yield Warning(
            "REALTIME_AMQP_URL signs in as guest, whose password everybody knows.",
            hint="Give the site a user of its own and delete guest: rabbitmqctl delete_user guest.",
            id="message_flow.W023",
        )


def _secrets(conf: RealtimeSettings) -> Iterator[CheckMessage]:
    # Never quoted: a message of a check ends in logs.
    count = len(conf.secrets)
    if settings.SECRET_KEY in conf.secrets:
        yield Warning(
            "REALTIME_SECRET equals SECRET_KEY: whoever learns one of them has both.",
            hint="Give socket tokens a key of their own.",
            id="message_flow.W024",
        )
    for position, secret in enumerate(conf.secrets, 1):
        if len(set(secret)) < SECRET_MIN_CHARACTERS or any(word in secret.lower() for word in _WORDS_OF_EXAMPLES):
            yield Warning(
                f"REALTIME_SECRET, key {position} of {count}, looks like an example and not like a random key.",
                hint='python -c "import secrets; print(secrets.token_urlsafe(48))" makes one.',
                id="message_flow.W025",
            )


def _origins(conf: RealtimeSettings) -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning(
            "ALLOWED_HOSTS holds *: whatever Host a page is asked under counts as this site, so any page may open "
            "sockets (DNS rebinding).",
            hint="Name the hosts of this site.",
            id="message_flow.W026",
        )
    plain = [origin for origin in conf.allowed_origins if origin.lower().startswith("http:")]
    if plain:
        yield Warning(
            f"REALTIME_ALLOWED_ORIGINS holds {', '.join(plain)}: whoever is on the way can put a page there, which may "
            "open sockets and fetch tokens.",
            hint="Name https:// origins only, and none of the machine of a developer.",
            id="message_flow.W027",
        )
    https = settings.SESSION_COOKIE_SECURE or settings.SECURE_SSL_REDIRECT
    proxy_header: tuple[str, str] | None = getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    if https and not proxy_header and not conf.allowed_origins:
        yield Warning(
            "The site is served by HTTPS, but SECURE_PROXY_SSL_HEADER is not set: a node behind a proxy takes its own "
            "pages for those of another origin (http instead of https) and closes their sockets with 4505.",
            hint='Set SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") and let the proxy overwrite that '
            "header, or name the site's https:// origins in REALTIME_ALLOWED_ORIGINS.",
            id="message_flow.W028",
        )
