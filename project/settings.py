"""All settings of the site, read from the environment and, the secret ones, from systemd (README, "Settings").

DEMO=1 is the laptop: every value has a default. Without it this is production, which refuses what is unsafe.
"""

import os
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import Env

from .environment import DEVELOPMENT_PREFIX, refuse_unsafe_production, secret
from .logs import FORMATTERS

BASE_DIR = Path(__file__).resolve().parent.parent
RUN_DIR = BASE_DIR / "run"

env = Env()
# `make` writes it for the laptop. Whoever brings a secret of their own, a server above all, gets none of it.
if secret("SECRET_KEY", os.environ) is None:
    env.read_env(str(BASE_DIR / ".env"), recurse=False)


def _parts(texts: str) -> list[str]:
    """Texts separated by commas, with or without blanks."""
    return [text.strip() for text in texts.split(",")] if texts else []


def _list(name: str, default: list[str]) -> list[str]:
    texts = env.str(name, default=None)
    return default if texts is None else _parts(texts)


def _secret(name: str, default: str) -> str:
    value = secret(name, os.environ)
    return default if value is None else value


DEMO: bool = env.bool("DEMO", default=False)
DEBUG: bool = env.bool("DEBUG", default=False)

_development = DEVELOPMENT_PREFIX + "x" * 48 if DEMO else ""
SECRET_KEY: str = _secret("SECRET_KEY", _development)
REALTIME_SECRET: list[str] = _parts(_secret("REALTIME_SECRET", _development))
ALLOWED_HOSTS: list[str] = _list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEMO else [])
REALTIME_AMQP_URL: str | None = secret("AMQP_URL", os.environ)
if not DEMO:
    refuse_unsafe_production(
        debug=DEBUG,
        secret_key=SECRET_KEY,
        realtime_secrets=REALTIME_SECRET,
        allowed_hosts=ALLOWED_HOSTS,
        amqp_url=REALTIME_AMQP_URL,
    )

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "apps.realtime",
    "apps.accounts",
    "apps.demo",
]
MIDDLEWARE = [
    "apps.realtime.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "project.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "apps.realtime.middleware.SignInMiddleware",
    "apps.realtime.middleware.SeedCookieMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

_database_url = _secret("DATABASE_URL", f"sqlite:///{RUN_DIR / 'db.sqlite3'}" if DEMO else "")
if not _database_url:
    raise ImproperlyConfigured("DATABASE_URL is not set")
DATABASES = {
    "default": dj_database_url.parse(
        _database_url,
        conn_max_age=60,
        conn_health_checks=True,
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A peer that is gone without a word: without these, libpq waits for as long as the kernel does, about 15 minutes.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Readers do not wait for the writer, and a writer waits for another one instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 10,
    }
    # A connection that outlives its request would be used by another thread.
    DATABASES["default"]["CONN_MAX_AGE"] = 0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Of the demo users; made up by `manage.py demo_users` where it is empty.
DEMO_PASSWORD: str = env.str("DEMO_PASSWORD", default="")

LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "demo:home"
LOGOUT_REDIRECT_URL = "accounts:login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT: str = env.str("STATIC_ROOT", default=str(RUN_DIR / "static"))
# For nginx, under whatever umask they are collected.
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o755
# The wheel carries the client as message_flow/js; here it is found under the same name.
STATICFILES_DIRS: list[Any] = [("message_flow/js", BASE_DIR / "static/js"), ("css", BASE_DIR / "static/css")]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "project.static.StaticFilesStorage"
    },
}

HTTPS: bool = env.bool("HTTPS", default=not DEMO)
# nginx overwrites the header, so nobody else can have set it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = HTTPS
# The load balancer and the supervisor ask over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
CSRF_TRUSTED_ORIGINS: list[str] = _list("CSRF_TRUSTED_ORIGINS", default=[])

EMAIL_BACKEND = f"django.core.mail.backends.{'console' if DEMO else 'smtp'}.EmailBackend"
EMAIL_HOST: str = env.str("EMAIL_HOST", default="localhost")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", default="message-flow@localhost")

REALTIME_LOCAL_SOCKET: str | None = str(RUN_DIR / "realtime.sock") if DEMO else None
REALTIME_ALLOWED_ORIGINS: list[str] = _list("REALTIME_ALLOWED_ORIGINS", default=[])
REALTIME_TOKEN_LIFE_SECS: float = env.float("REALTIME_TOKEN_LIFE_SECS", default=900)
REALTIME_HEARTBEAT_SECS: float = env.float("REALTIME_HEARTBEAT_SECS", default=45)
REALTIME_AUTH_TIMEOUT_SECS: float = env.float("REALTIME_AUTH_TIMEOUT_SECS", default=10)
REALTIME_AMQP_HEARTBEAT_SECS: int = env.int("REALTIME_AMQP_HEARTBEAT_SECS", default=10)
REALTIME_QUEUE_STRATEGY: str = env.str("REALTIME_QUEUE_STRATEGY", default="user")
REALTIME_MAX_SOCKETS_PER_USER: int = env.int("REALTIME_MAX_SOCKETS_PER_USER", default=50)
REALTIME_MAX_SOCKETS_PER_ADDRESS: int = env.int("REALTIME_MAX_SOCKETS_PER_ADDRESS", default=2_000)
REALTIME_CONNECTS_PER_ADDRESS_PER_SEC: float = env.float("REALTIME_CONNECTS_PER_ADDRESS_PER_SEC", default=50)
REALTIME_REPLAY_MAX: int = env.int("REALTIME_REPLAY_MAX", default=500)
REALTIME_HISTORY_MAX_EVENTS: int = env.int("REALTIME_HISTORY_MAX_EVENTS", default=1_000)
REALTIME_HISTORY_MAX_AGE_SECS: float = env.float("REALTIME_HISTORY_MAX_AGE_SECS", default=7 * 86_400)
REALTIME_INBOX_DAYS: float = env.float("REALTIME_INBOX_DAYS", default=90)
REALTIME_HEAD_CHECK_SECS: float = env.float("REALTIME_HEAD_CHECK_SECS", default=30)
REALTIME_SIGN_IN_CHECK_SECS: float = env.float("REALTIME_SIGN_IN_CHECK_SECS", default=30)
REALTIME_LEASE_SECS: float = env.float("REALTIME_LEASE_SECS", default=30)
REALTIME_UNSEEN_AFTER_SECS: float | None = env.float("REALTIME_UNSEEN_AFTER_SECS", default=None)
REALTIME_UNSEEN_DIGEST: bool = env.bool("REALTIME_UNSEEN_DIGEST", default=False)
REALTIME_SITE_URL: str | None = env.str("REALTIME_SITE_URL", default=None)

# A frame from a browser holds 16 KiB at most. runserver reads these; the daphne command has options for it (ops/).
# The size of messages bounds what is sent, too: an event has 256 KiB at most (docs/protocol.md, section 3).
DAPHNE_WEBSOCKET_MAX_FRAME_SIZE = 64 * 1024
DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE = 256 * 1024

LOG_LEVEL: str = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT: str = env.str("LOG_FORMAT", default="line")
if LOG_FORMAT not in FORMATTERS:
    raise ImproperlyConfigured(f"LOG_FORMAT = {LOG_FORMAT!r}: it is one of {', '.join(FORMATTERS)}")
# Each step of each event, on every process: for a search, not for always.
LOG_TRACE: bool = env.bool("LOG_TRACE", default=False)
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"chosen": {"()": FORMATTERS[LOG_FORMAT]}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Their reconnects are ours to report, in one line.
        "pika": {"level": "CRITICAL"},
        "aiormq": {"level": "CRITICAL"},
        "aio_pika": {"level": "CRITICAL"},
        "apps.realtime.tracing": {"level": "DEBUG" if LOG_TRACE else "INFO"},
        "daphne": {"level": "WARNING" if not DEBUG else "INFO"},
        # Without their own handlers, which Django's defaults give them: each line once.
        "django": {"handlers": []},
        "django.server": {"handlers": []},
        "django.channels.server": {"handlers": []},
    },
}
