"""Which pages may open a socket (docs/tokens.md).

A browser sends cookies and reaches any address, so the Origin header is the one thing that tells our page from
somebody else's (RFC 6455, 10.2). Scheme, host and port are compared whole: no suffix, no prefix, no wildcard.
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def normalized_origin(origin: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an http or https origin, or None for anything else, `null` included."""
    if any(character <= " " or character == "\x7f" for character in origin):
        return None  # urlsplit would drop tabs and newlines
    try:
        parts = urlsplit(origin)
        port = parts.port
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        return None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or origin.endswith(("?", "#")):
        return None
    return parts.scheme, host, _DEFAULT_PORTS[parts.scheme] if port is None else port


def origin_allowed(origins: list[str], *, own: str | None, allowed: Collection[str]) -> bool:
    """Whether a handshake may go on.

    Args:
        origins: the values of all Origin headers; only exactly one is acceptable.
        own: the origin under which this very request reached the site, when its Host is one of ours.
        allowed: further origins that the site trusts.
    """
    if len(origins) != 1:
        return False
    origin = normalized_origin(origins[0])
    if origin is None:
        return False
    candidates = [*allowed, own] if own else list(allowed)
    return any(normalized_origin(candidate) == origin for candidate in candidates)
