"""What has to be done when a sign-in begins, ends, or outlives a change of the password (docs/tokens.md)."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from .signin import renew_sign_in

SEED_COOKIE: Final = "auth_token"


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
