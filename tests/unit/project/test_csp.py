"""The Content-Security-Policy of every page."""

import pytest
from django.http import HttpRequest, HttpResponse
from pytest_django import Settings

from project.csp import POLICY, ContentSecurityPolicyMiddleware


def header(response: HttpResponse) -> str | None:
    answer = ContentSecurityPolicyMiddleware(lambda request: response)(HttpRequest())
    assert isinstance(answer, HttpResponse)
    return answer.headers.get("Content-Security-Policy")


def test_every_response_has_the_policy() -> None:
    assert header(HttpResponse()) == POLICY


def test_nothing_is_allowed_by_default_and_nothing_is_unsafe() -> None:
    assert POLICY.startswith("default-src 'none'")
    assert "unsafe" not in POLICY
    assert "*" not in POLICY


def test_a_view_may_set_its_own() -> None:
    assert header(HttpResponse(headers={"Content-Security-Policy": "sandbox"})) == "sandbox"


@pytest.mark.parametrize("status", [200, 403, 404, 500])
@pytest.mark.parametrize("debug", [True, False])
def test_debug_pages_are_spared(settings: Settings, debug: bool, status: int) -> None:
    settings.DEBUG = debug
    spared = debug and status in (404, 500)
    assert header(HttpResponse(status=status)) == (None if spared else POLICY)
