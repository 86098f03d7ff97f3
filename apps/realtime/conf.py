"""The settings of the library, read from Django's and checked once (README, "Settings")."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .core.broker_urls import broker_urls
from .core.origin import normalized_origin

# protocol.md, section 4: a token lives 15 minutes at most; the verifier enforces it too.
TOKEN_LIFE_MAX_SECS: Final = 900
# RFC 7518, 3.2: an HS256 key has at least the size of the hash output.
SECRET_MIN_BYTES: Final = 32
# nginx cuts a silent socket after 60 s by default; up to 8 s of jitter are added, and the frame has to arrive.
HEARTBEAT_MAX_SECS: Final = 50


@dataclass(frozen=True, slots=True)
class RealtimeSettings:
    """One field for each `REALTIME_…` setting; the README's table says what each is for."""

    amqp_urls: tuple[str, ...]
    secrets: tuple[str, ...]
    path: str
    allowed_origins: tuple[str, ...]
    token_life_secs: float
    heartbeat_secs: float
    auth_timeout_secs: float
    amqp_heartbeat_secs: int
    queue_strategy: str
    max_sockets_per_user: int
    max_sockets_per_address: int
    connects_per_address_per_sec: float
    max_topics_per_socket: int
    local_socket: str | None
    request_user: str | None
    database: str
    replay_max: int
    history_max_events: int
    history_max_age_secs: float
    inbox_days: float
    head_check_secs: float
    sign_in_check_secs: float
    lease_secs: float
    unseen_after_secs: float | None
    unseen_digest: bool
    site_url: str | None

    @property
    def acknowledged_every_secs(self) -> float | None:
        """How often a node writes down what tabs have acknowledged; None where nobody wants to know."""
        return None if self.unseen_after_secs is None else min(10.0, self.unseen_after_secs / 4)


@lru_cache(maxsize=1)
def realtime_settings() -> RealtimeSettings:
    """Read and check the settings.

    Raises:
        ImproperlyConfigured: a setting that cannot work, with its name, its value (never a secret) and what to do.
    """
    return RealtimeSettings(
        amqp_urls=_amqp_urls(_get("AMQP_URL", None)),
        secrets=_secrets(_get("SECRET", None)),
        path=_path(_get("PATH", "/websocket")),
        allowed_origins=_origins(_get("ALLOWED_ORIGINS", ())),
        token_life_secs=_number("TOKEN_LIFE_SECS", TOKEN_LIFE_MAX_SECS, 1, TOKEN_LIFE_MAX_SECS),
        heartbeat_secs=_number("HEARTBEAT_SECS", 45, 1, HEARTBEAT_MAX_SECS),
        auth_timeout_secs=_number("AUTH_TIMEOUT_SECS", 10, 1, 60),
        amqp_heartbeat_secs=int(_number("AMQP_HEARTBEAT_SECS", 10, 1, 60)),
        queue_strategy=_choice("QUEUE_STRATEGY", "user", ("user", "node")),
        max_sockets_per_user=int(_number("MAX_SOCKETS_PER_USER", 50, 1, 1_000_000)),
        max_sockets_per_address=int(_number("MAX_SOCKETS_PER_ADDRESS", 2_000, 1, 1_000_000)),
        connects_per_address_per_sec=_number("CONNECTS_PER_ADDRESS_PER_SEC", 50, 0.1, 1_000_000),
        max_topics_per_socket=int(_number("MAX_TOPICS_PER_SOCKET", 100, 0, 1_000)),
        local_socket=_get("LOCAL_SOCKET", None),
        request_user=_get("REQUEST_USER", None),
        database=_database(_get("DATABASE", "default")),
        replay_max=int(_number("REPLAY_MAX", 500, 1, 10_000)),
        history_max_events=int(_number("HISTORY_MAX_EVENTS", 1_000, 1, 10_000_000)),
        history_max_age_secs=_number("HISTORY_MAX_AGE_SECS", 7 * 86_400, 1, 10 * 365 * 86_400),
        inbox_days=_number("INBOX_DAYS", 90, 1, 3_650),
        head_check_secs=_number("HEAD_CHECK_SECS", 30, 1, 3_600),
        sign_in_check_secs=_number("SIGN_IN_CHECK_SECS", 30, 1, 3_600),
        lease_secs=_number("LEASE_SECS", 30, 1, 3_600),
        unseen_after_secs=_unseen_after_secs(_get("UNSEEN_AFTER_SECS", None)),
        unseen_digest=_unseen_digest(_get("UNSEEN_DIGEST", False)),
        site_url=_site_url(_get("SITE_URL", None)),
    )


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting.startswith("REALTIME_"):
        realtime_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="message_flow.conf")


def _get(name: str, default: Any) -> Any:
    return getattr(settings, "REALTIME_" + name, default)


def _number(name: str, default: float, least: float, most: float) -> float:
    value = _get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ImproperlyConfigured(f"REALTIME_{name} = {value!r}: set a number from {least} to {most}")
    return float(value)


def _choice(name: str, default: str, choices: Sequence[str]) -> str:
    value = _get(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"REALTIME_{name} = {value!r}: set one of {', '.join(choices)}")
    return str(value)


def _database(value: Any) -> str:
    if value not in settings.DATABASES:
        raise ImproperlyConfigured(f"REALTIME_DATABASE = {value!r}: set one of {', '.join(settings.DATABASES)}")
    return str(value)


def _unseen_after_secs(value: Any) -> float | None:
    return None if value is None else _number("UNSEEN_AFTER_SECS", 0, 1, 30 * 86_400)


def _unseen_digest(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"REALTIME_UNSEEN_DIGEST = {value!r}: set True or False")
    for needed, example in (("UNSEEN_AFTER_SECS", "900"), ("SITE_URL", '"https://example.com"')):
        if value and _get(needed, None) is None:
            raise ImproperlyConfigured(f"REALTIME_UNSEEN_DIGEST needs REALTIME_{needed}, such as {example}")
    return value


def _site_url(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and normalized_origin(value) is not None):
        return value
    raise ImproperlyConfigured(f"REALTIME_SITE_URL = {value!r}: write the whole origin, such as https://example.com")


def _amqp_urls(value: Any) -> tuple[str, ...]:
    try:
        return broker_urls(value) if value else ()
    except ValueError as error:
        raise ImproperlyConfigured(f"REALTIME_AMQP_URL {error}") from None


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ImproperlyConfigured(f"REALTIME_PATH = {value!r}: set a path such as /websocket")
    return value


def _origins(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ImproperlyConfigured(f"REALTIME_ALLOWED_ORIGINS = {value!r}: set a list of origins")
    for origin in value:
        if not isinstance(origin, str) or normalized_origin(origin) is None:
            raise ImproperlyConfigured(
                f"REALTIME_ALLOWED_ORIGINS holds {origin!r}: write whole origins such as https://app.example.com"
            )
    return tuple(value)


def _secrets(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Iterable | None):
        raise ImproperlyConfigured("REALTIME_SECRET is neither a text nor a list of texts")
    secrets = (value,) if isinstance(value, str) else tuple(value or ())
    if not secrets:
        raise ImproperlyConfigured(
            "REALTIME_SECRET is not set: give the key that signs socket tokens, 32 random bytes or more, for example "
            'from `python -c "import secrets; print(secrets.token_urlsafe(48))"`'
        )
    for position, secret in enumerate(secrets, 1):
        if not isinstance(secret, str) or len(secret.encode()) < SECRET_MIN_BYTES:
            raise ImproperlyConfigured(
                f"REALTIME_SECRET, key {position} of {len(secrets)}, is shorter than {SECRET_MIN_BYTES} bytes"
            )
    return secrets
