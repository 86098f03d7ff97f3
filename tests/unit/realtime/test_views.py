"""The HTTP endpoints (docs/protocol.md, section 4)."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.tokens import verify_token
from tests.unit.conftest import MakeUser, RecordingPublisher

TOKEN = "/socket_auth_token"
JSON = {"Accept": "application/json"}


@pytest.fixture
def signed_in(client: Client, make_user: MakeUser, db: None) -> Client:
    """Alice's browser."""
    client.force_login(make_user("alice"))
    return client


# Tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain", "text/html,*/*;q=0.8", "application/json;q=0.1,text/*"])
def test_the_token_is_raw_text_as_in_2016(signed_in: Client, accept: str | None) -> None:
    response = signed_in.get(TOKEN, headers={"Accept": accept} if accept else {})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert verify_token(response.content.decode(), time.time()).username == "alice"


@pytest.mark.parametrize("accept", ["application/json", "application/json, */*;q=0.1"])
def test_who_prefers_json_gets_token_and_expiry(signed_in: Client, accept: str) -> None:
    response = signed_in.get(TOKEN, headers={"Accept": accept})
    assert response["Content-Type"] == "application/json"
    assert set(response.json()) == {"token", "expires_at"}
    claims = verify_token(response.json()["token"], time.time())
    assert claims.expires_at == response.json()["expires_at"]
    assert abs(claims.expires_at - time.time() - 900) < 60


@pytest.mark.django_db
@pytest.mark.parametrize("headers", [{}, JSON, {"X-Requested-With": "XMLHttpRequest"}])
def test_anybody_else_gets_401_and_never_a_redirect(client: Client, headers: dict[str, str]) -> None:
    response = client.get(TOKEN, headers=headers)
    assert response.status_code == 401
    assert "Location" not in response
    if headers == JSON:
        assert response.json() == {"error": "not signed in"}
    else:
        assert response.content == b"not signed in"


def test_a_deactivated_user_gets_401(signed_in: Client, django_user_model: Any) -> None:
    django_user_model.objects.update(is_active=False)
    assert signed_in.get(TOKEN).status_code == 401


def test_no_answer_may_be_cached(signed_in: Client) -> None:
    for client in (signed_in, Client()):
        for headers in ({}, JSON):
            response = client.get(TOKEN, headers=headers)
            assert "no-store" in response["Cache-Control"]
            assert "private" in response["Cache-Control"]
            assert {"Accept", "Cookie"} <= set(response["Vary"].split(", "))


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch", "options", "head"])
def test_a_token_is_got_and_nothing_else(signed_in: Client, method: str) -> None:
    response = getattr(signed_in, method)(TOKEN)
    assert response.status_code == 405
    assert "no-store" in response["Cache-Control"]


def test_a_token_in_the_url_is_not_looked_at(client: Client, signed_in: Client) -> None:
    token = signed_in.get(TOKEN).content.decode()
    assert Client().get(TOKEN, {"token": token, "auth_token": token}).status_code == 401


@pytest.mark.parametrize("headers", [{}, JSON])
def test_while_the_database_is_away_it_is_503_and_not_401(
    signed_in: Client, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    def fail(*args: Any) -> str:
        raise OperationalError("password of user shop at 10.0.0.5")

    monkeypatch.setattr("apps.realtime.views.mark_of", fail)
    response = signed_in.get(TOKEN, headers=headers)
    assert response.status_code == 503
    assert b"10.0.0.5" not in response.content
    assert "no-store" in response["Cache-Control"]


# CORS --------------------------------------------------------------------------------------------


def cors(response: Any) -> tuple[str | None, str | None]:
    return response.get("Access-Control-Allow-Origin"), response.get("Access-Control-Allow-Credentials")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://app.example", ("https://app.example", "true")),
        ("https://app.example.evil", (None, None)),
        ("https://app.example:8443", (None, None)),
        ("http://app.example", (None, None)),
        ("null", (None, None)),
        ("*", (None, None)),
        ("", (None, None)),
    ],
)
def test_only_a_trusted_origin_may_read_the_token(
    signed_in: Client, settings: Settings, origin: str, expected: tuple[str | None, str | None]
) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = ["https://app.example"]
    response = signed_in.get(TOKEN, headers={"Origin": origin})
    assert cors(response) == expected
    assert "Origin" in response["Vary"]


def test_a_trusted_page_can_read_that_nobody_is_signed_in(client: Client, settings: Settings, db: None) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = ["https://app.example"]
    response = client.get(TOKEN, headers={"Origin": "https://app.example"})
    assert response.status_code == 401
    assert cors(response) == ("https://app.example", "true")


def test_a_site_that_trusts_nobody_sends_no_cors(signed_in: Client) -> None:
    response = signed_in.get(TOKEN, headers={"Origin": "http://testserver"})
    assert cors(response) == (None, None)


# Health ------------------------------------------------------------------------------------------


def test_healthz_needs_neither_database_nor_broker(client: Client) -> None:
    # Without the mark django_db any use of the database is an error.
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_readyz_names_what_it_checked(client: Client, published: RecordingPublisher) -> None:
    response = client.get("/readyz")
    assert response.json() == {"status": "ok", "checks": {"database": "ok", "broker": "ok"}}
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_readyz_is_503_with_a_publisher_that_has_a_problem(client: Client, published: RecordingPublisher) -> None:
    published.problem = "the broker is away"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "checks": {"database": "ok", "broker": "the broker is away"},
    }
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_through_the_proxy_readyz_names_no_reason(client: Client, published: RecordingPublisher) -> None:
    published.problem = "Connect call failed ('192.0.2.1', 5672)"
    response = client.get("/readyz", headers={"X-Forwarded-For": "198.51.100.7"})
    assert response.status_code == 503
    assert response.json()["checks"] == {"database": "ok", "broker": "failing"}


def test_readyz_is_503_with_a_database_that_is_away(client: Client, published: RecordingPublisher) -> None:
    # Without the mark django_db the database refuses every connection.
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["checks"]["broker"] == "ok"
    assert response.json()["checks"]["database"] == "RuntimeError"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_is_read_and_never_written(client: Client, path: str, process: PublishingProcess) -> None:
    assert client.post(path).status_code == 405


def test_metrics_are_prometheus_text(client: Client) -> None:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert b"# HELP realtime_sessions " in response.content
    assert "no-store" in response["Cache-Control"]


_TWO_PROCESSES = """
import os, sys
import django
django.setup()
from django.test import Client
from prometheus_client.multiprocess import mark_process_dead
from apps.realtime import metrics

child = os.fork()
metrics.RECEIVED.inc(3)
metrics.PUBLISH_WAITING.set(5)
metrics.BROKER_CONNECTED.labels("publisher").set(child == 0)
if child == 0:
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
for _ in range(2):
    print(Client().get("/metrics").content.decode())
    mark_process_dead(child)
"""


def test_a_server_of_several_processes_shows_them_together(tmp_path: Path) -> None:
    """As gunicorn does, with the hook of ops/systemd/gunicorn.conf.py."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", _TWO_PROCESSES]
    shown = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^realtime_events_received_total (.+)$", shown, re.MULTILINE) == ["6.0", "6.0"]
    assert re.findall(r"^realtime_events_publish_waiting (.+)$", shown, re.MULTILINE) == ["10.0", "5.0"]
    assert re.findall(r"^realtime_broker_connected\{role=\"publisher\"\} (.+)$", shown, re.MULTILINE) == ["0.0", "0.0"]
    assert "pid=" not in shown
