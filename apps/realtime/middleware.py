"""What has to be done around requests: sign-ins that change (docs/tokens.md), an id to follow (docs/logs.md)."""

from collections.abc import Callable
from typing import Any, Final

from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from .signin import renew_sign_in
from .tracing import begin, end

SEED_COOKIE: Final = "auth_token"
REQUEST_ID_HEADER: Final = "X-Request-ID"


class RequestIdMiddleware:
    """Gives each request an id, which stands in its log lines, its answer and its events. To be placed first.

    The id is that of the header `X-Request-ID`, which the proxy sets, or a new one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        id = begin(request.headers.get(REQUEST_ID_HEADER))
        response = self._get_response(request)
        response[REQUEST_ID_HEADER] = id
        return response


@receiver(request_finished, dispatch_uid="message_flow.request_finished")
def _request_finished(**kwargs: Any) -> None:
    # Not with the middleware: Django logs what a request has failed with behind all of it.
    end()


class SignInMiddleware:
    """Keeps all tabs of a session open when one of them changes the password. To be placed below SessionMiddleware.

    Django tells nobody that a session outlives the change of its user's password. Without this, its tabs stay if one of
    them asks for a token within a second, as a page does that is loaded after the change.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        # Not its key: that of a cookie session is its content with the second in which it was signed.
        if request.session.modified:
            renew_sign_in(request)
        return response


class SeedCookieMiddleware:
    """Expires the cookie of a 2016 page. To be placed below SessionMiddleware.

    That page's script keeps the token in a cookie `auth_token`, which outlives the sign-out. The token in it is refused
    anyway; without the cookie the page asks for a good one at once. Only sites that still serve that script need this.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        before = request.session.session_key
        response = self._get_response(request)
        if SEED_COOKIE in request.COOKIES and request.session.session_key != before:
            response.delete_cookie(SEED_COOKIE)
        return response
