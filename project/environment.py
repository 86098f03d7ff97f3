"""Where secrets come from, and what production refuses to start with (docs/operations.md)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from apps.realtime.core.broker_urls import broker_urls, is_this_machine

# Prefix of the secrets that the demo falls back to; everybody can read them here.
DEVELOPMENT_PREFIX: Final = "development-only-"
SECRET_MIN_BYTES: Final = 32


def secret(name: str, environ: Mapping[str, str]) -> str | None:
    """
    Raises:
        ImproperlyConfigured: the credential is there and cannot be read.

    Returns: the credential of this name that systemd has given to the process (LoadCredential), without blanks and
        line ends around it; else the environment's variable; else None.
    """
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        try:
            return Path(folder, name).read_text().strip()
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(f"the credential {name} cannot be read: {type(error).__name__}") from None
    return environ.get(name)


def refuse_unsafe_production(
    *,
    debug: bool,
    secret_key: str,
    realtime_secrets: Sequence[str],
    allowed_hosts: Sequence[str],
    amqp_url: str | None,
) -> None:
    """
    Raises:
        ImproperlyConfigured: a setting that is fine on a laptop and a hole on a server, by name, never by value.
    """
    if debug:
        raise ImproperlyConfigured(
            "DEBUG is on: production shows no tracebacks. Unset DEBUG, or set DEMO=1 on a laptop"
        )
    _refuse_secret("SECRET_KEY", secret_key)
    if not realtime_secrets:
        _refuse_secret("REALTIME_SECRET", "")
    for secret in realtime_secrets:
        _refuse_secret("REALTIME_SECRET", secret)
    if secret_key in realtime_secrets:
        raise ImproperlyConfigured("REALTIME_SECRET equals SECRET_KEY: give socket tokens a key of their own")
    if not allowed_hosts:
        raise ImproperlyConfigured("ALLOWED_HOSTS is empty: name the hosts of this site, separated by commas")
    if "*" in allowed_hosts:
        raise ImproperlyConfigured("ALLOWED_HOSTS is *: any Host header, and so any origin, would be taken for ours")
    _refuse_open_broker(amqp_url)


def _refuse_open_broker(amqp_url: str | None) -> None:
    try:
        urls = broker_urls(amqp_url) if amqp_url else ()
    except ValueError as error:
        raise ImproperlyConfigured(f"AMQP_URL {error}") from None
    for parts in map(urlsplit, urls):
        if parts.scheme != "amqps" and not is_this_machine(parts.hostname):
            raise ImproperlyConfigured("AMQP_URL goes to another machine without TLS: use amqps://")


def _refuse_secret(name: str, value: str) -> None:
    if not value:
        raise ImproperlyConfigured(f"{name} is not set (on a laptop, DEMO=1 brings one)")
    if value.startswith(DEVELOPMENT_PREFIX):
        raise ImproperlyConfigured(f"{name} is the development secret that everybody can read: make a new one")
    if len(value.encode()) < SECRET_MIN_BYTES:
        raise ImproperlyConfigured(f"{name} is shorter than {SECRET_MIN_BYTES} bytes")
