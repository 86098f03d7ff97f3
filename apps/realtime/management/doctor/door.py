"""Where a node, or the proxy before it, is reached (docs/doctor.md)."""

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

UNIX: Final = "unix:"


class BadUrl(Exception):
    """It says nowhere that one could connect to."""


@dataclass(frozen=True, slots=True)
class Door:
    """An address of `--url`.

    Attributes:
        name: as it was given, for people.
        host: for the Host header: one that the site answers to.
    """

    name: str
    scheme: str
    address: tuple[str, int] | str
    host: str

    @classmethod
    def at(cls, url: str) -> "Door":
        """
        Args:
            url: `http://127.0.0.1:9101`, `https://example.org`, or `unix:/run/node.sock`.

        Raises:
            BadUrl: it is none of these.
        """
        if url.startswith(UNIX + "/"):
            return cls(url, "http", url.removeprefix(UNIX), _known_host("localhost"))
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        except (ValueError, KeyError):
            raise BadUrl(f"{url} is no URL of a node: http://127.0.0.1:9101 or unix:/path") from None
        if not parts.hostname or parts.username or parts.path not in ("", "/") or parts.query:
            raise BadUrl(f"{url} is not only scheme, host and port")
        return cls(url.rstrip("/"), parts.scheme, (parts.hostname, port), _known_host(parts.netloc))

    @property
    def origin(self) -> str:
        """The origin of a page of this site, as the other side works it out (node/handshake.py)."""
        return f"{self.scheme}://{self.host}"

    def connect(self, deadline: float) -> socket.socket:
        """A connection, with TLS where the URL says so; `deadline` is monotonic.

        Raises:
            OSError: nobody is there, or the certificate is not good.
        """
        if isinstance(self.address, str):
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            found.settimeout(left(deadline))
            found.connect(self.address)
            return found
        found = socket.create_connection(self.address, left(deadline))
        if self.scheme == "http":
            return found
        found.settimeout(left(deadline))
        return ssl.create_default_context().wrap_socket(found, server_hostname=self.address[0])


def left(deadline: float) -> float:
    """Seconds until a monotonic deadline.

    Raises:
        TimeoutError: there are none.
    """
    secs = deadline - time.monotonic()
    if secs <= 0:
        raise TimeoutError("no answer in time")
    return secs


def _known_host(host: str) -> str:
    # A node is asked at its own port, under a name that the site has for others.
    allowed = settings.ALLOWED_HOSTS
    domain, _ = split_domain_port(host)
    if validate_host(domain, allowed):
        return host
    return next((one.removeprefix(".") for one in allowed if one != "*"), host)
