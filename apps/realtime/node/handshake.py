"""What a WebSocket handshake tells of its sender (docs/tokens.md)."""

from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from ..core.codes import SUBPROTOCOL
from ..core.origin import origin_allowed

Scope = dict[str, Any]


def origin_is_allowed(scope: Scope, allowed_origins: tuple[str, ...]) -> bool:
    """Whether the page that opens this socket is one of ours."""
    return origin_allowed(_headers(scope, b"origin"), own=_own_origin(scope), allowed=allowed_origins)


def offers_v1(scope: Scope) -> bool:
    """Whether the client speaks `realtime.v1`; a client of 2016 offers nothing."""
    return SUBPROTOCOL in scope.get("subprotocols", ())


def client_address(scope: Scope) -> str | None:
    """The address that limits count by; None where the server does not know it.

    Behind nginx Daphne takes it from X-Forwarded-For (`--proxy-headers`), which nginx overwrites.
    """
    client = scope.get("client")
    if not client:
        return None
    host = str(client[0])
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    # One customer of a provider has a whole /64 (RFC 6177).
    return str(IPv6Network((address, 64), strict=False))


def _own_origin(scope: Scope) -> str | None:
    """The origin of a page that this very host served; None when the Host header is none of ALLOWED_HOSTS."""
    hosts = _headers(scope, b"host")
    if len(hosts) != 1:
        return None
    domain, _ = split_domain_port(hosts[0])
    allowed_hosts = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed_hosts:
        allowed_hosts = [".localhost", "127.0.0.1", "[::1]"]
    if not domain or not validate_host(domain, allowed_hosts):
        return None
    return f"{'https' if _is_secure(scope) else 'http'}://{hosts[0]}"


def _is_secure(scope: Scope) -> bool:
    # Daphne puts no scheme into a WebSocket scope, so the proxy's word counts, where the site trusts it at all.
    trusted: tuple[str, str] | None = getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    if trusted:
        name, value = trusted
        header = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
        return _headers(scope, header) == [value]
    return scope.get("scheme") in ("https", "wss")


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
