"""The HTTP endpoints: tokens, health, metrics (docs/protocol.md, section 4)."""

import time
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from . import health
from .conf import realtime_settings
from .signin import mark_of, requesting_user
from .tokens import issue_token


@never_cache
@require_GET
def socket_auth_token(request: HttpRequest) -> HttpResponse:
    """A token for the signed-in user: its raw text, or JSON for whoever prefers that; 401 for anybody else."""
    wants_json = request.get_preferred_type(["text/plain", "application/json"]) == "application/json"
    user = requesting_user(request)
    if user is None:
        response = _answer(wants_json, {"error": "not signed in"}, "not signed in", HTTPStatus.UNAUTHORIZED)
    else:
        token = issue_token(
            user_id=str(user.pk),
            username=user.get_username(),
            mark=mark_of(request, user),
            now=time.time(),
        )
        response = _answer(wants_json, {"token": token.text, "expires_at": token.expires_at}, token.text)
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
    """Everything that this process needs works; 503 and the reasons where it does not."""
    found = health.problems(request)
    ready = not any(found.values())
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
    """This process's numbers as Prometheus text. Not for the public: the front door must not let it through."""
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def _answer(
    wants_json: bool, content: dict[str, object], text: str, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    if wants_json:
        response: HttpResponse = JsonResponse(content, status=status)
    else:
        response = HttpResponse(text, content_type="text/plain; charset=utf-8", status=status)
    patch_vary_headers(response, ["Accept", "Cookie"])
    return response


def _allow_origin(request: HttpRequest, response: HttpResponse) -> None:
    """Let a page of another trusted origin read its user's token (Fetch standard, CORS)."""
    allowed = realtime_settings().allowed_origins
    if not allowed:
        return
    patch_vary_headers(response, ["Origin"])
    origin = request.headers.get("Origin")
    if origin in allowed:
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Credentials"] = "true"
