"""The Content-Security-Policy of every page (docs/demo.md).

Django brings one from 6.0 on; the site runs on 5.2 too.
"""

from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

# 'self' in connect-src covers the socket too: ws and wss of the page's own host and port (CSP Level 3, 6.7.2.8).
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Adds the policy unless a view has set its own."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Spare Django's debug pages, which are styled inline and never seen in production."""
        if not (settings.DEBUG and response.status_code in (404, 500)):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response
