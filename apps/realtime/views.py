"""The HTTP endpoints: tokens, health, metrics (docs/protocol.md, section 4)."""

import logging
import os
import time
from http import HTTPStatus
from typing import Final

from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from . import health
from .conf import realtime_settings
from .core.origin import origin_allowed
from .signin import mark_of, password_digest, requesting_user
from .tokens import issue_token

logger = logging.getLogger(__name__)
TEXT: Final = "text/plain; charset=utf-8"


@never_cache
@require_GET
def socket_auth_token(request: HttpRequest) -> HttpResponse:
    """A token for the signed-in user: its raw text, or JSON for whoever prefers that; 401 for anybody else.

    503 while the database does not answer: the client keeps what it has and asks again.
    """
    wants_json = request.get_preferred_type(["text/plain", "application/json"]) == "application/json"
    try:
        response = _token_answer(request, wants_json)
    except DatabaseError:
        logger.warning("No token can be issued: the database does not answer", exc_info=True)
        response = _error(wants_json, "try again later", HTTPStatus.SERVICE_UNAVAILABLE)
    patch_vary_headers(response, ["Accept", "Cookie"])
    _allow_origin(request, response)
    return response


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process is up."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Everything that this process needs works; 503 where it does not, with the reasons.

    Reasons hold addresses of this site's machines, so whoever asks through the proxy learns only what fails.
    """
    found = health.problems(request)
    ready = not any(found.values())
    if "X-Forwarded-For" in request.headers:
        found = {name: problem and "failing" for name, problem in found.items()}
    return JsonResponse(
        {
            "status": "ok" if ready else "unavailable",
            "checks": {name: problem or "ok" for name, problem in found.items()},
        },
        status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """This process's numbers as Prometheus text. Not for the public: the front door must not let it through.

    With PROMETHEUS_MULTIPROC_DIR those of all processes that share this folder.
    """
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _token_answer(request: HttpRequest, wants_json: bool) -> HttpResponse:
    user = requesting_user(request)
    if user is None:
        return _error(wants_json, "not signed in", HTTPStatus.UNAUTHORIZED)
    mark = mark_of(request, user)
    if mark is None:
        return _error(wants_json, "signed out", HTTPStatus.UNAUTHORIZED)
    token = issue_token(
        user_id=str(user.pk),
        username=user.get_username(),
        mark=mark,
        password=password_digest(user),
        now=time.time(),
    )
    if wants_json:
        return JsonResponse({"token": token.text, "expires_at": token.expires_at})
    return HttpResponse(token.text, content_type=TEXT)


def _error(wants_json: bool, message: str, status: HTTPStatus) -> HttpResponse:
    if wants_json:
        return JsonResponse({"error": message}, status=status)
    return HttpResponse(message, content_type=TEXT, status=status)


def _allow_origin(request: HttpRequest, response: HttpResponse) -> None:
    """Let a page of another trusted origin read its user's token (Fetch standard, CORS)."""
    allowed = realtime_settings().allowed_origins
    if not allowed:
        return
    patch_vary_headers(response, ["Origin"])
    origin = request.headers.get("Origin", "")
    if origin_allowed([origin], own=None, allowed=allowed):
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Credentials"] = "true"
