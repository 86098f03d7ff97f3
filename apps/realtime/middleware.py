"""Expires the cookie of a 2016 page when its sign-in changes (docs/tokens.md).

That page's script keeps the token in a cookie `auth_token`, which outlives the sign-out. The token in it is refused
anyway; without the cookie the page asks for a good one at once. Only sites that still serve the old script need this.
"""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

SEED_COOKIE: Final = "auth_token"


class SeedCookieMiddleware:
    """To be placed below SessionMiddleware. Sign-in, sign-out and password change all give the session a new key."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        before = request.session.session_key
        response = self._get_response(request)
        if SEED_COOKIE in request.COOKIES and request.session.session_key != before:
            response.delete_cookie(SEED_COOKIE)
        return response
