"""The hosts that one setting names (docs/brokers.md, "Several hosts")."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

# A password may hold a comma: only one before the next URL ends the one before it.
_BETWEEN: Final = re.compile(r"[,;\s]+(?=amqps?://)", re.IGNORECASE)
_SEPARATOR: Final = re.compile(r"[,;\s]")
_DEFAULT_PORTS: Final = {"amqp": 5672, "amqps": 5671}


def broker_urls(value: object) -> tuple[str, ...]:
    """The AMQP URLs in a setting: a text with one, several separated by commas, semicolons or blanks, or a list.

    Raises:
        ValueError: they cannot be used, or are not those of one cluster. The text quotes none: they hold the password.
    """
    urls = _BETWEEN.split(value.strip()) if isinstance(value, str) else value
    if not isinstance(urls, Iterable):
        urls = [urls]
    found: list[tuple[str, SplitResult]] = []
    for url in urls:
        parts = _parts(url)
        if parts is None:
            where = f" at host {len(found) + 1}" if found or url != value else ""
            raise ValueError(f"is not of the form amqp://user:password@host:port/vhost{where}")
        found.append((str(url), parts))
    if len({_without_host(parts) for _, parts in found}) > 1:
        raise ValueError("names hosts with different schemes, users, passwords, vhosts or parameters")
    if len({host_and_port(url) for url, _ in found}) < len(found):
        raise ValueError("names a host twice")
    return tuple(url for url, _ in found)


def host_and_port(url: str) -> tuple[str, int]:
    """Where the URL leads."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def is_this_machine(host: str | None) -> bool:
    """Whether a host is loopback, by its text alone."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _parts(url: object) -> SplitResult | None:
    if not isinstance(url, str) or _SEPARATOR.search(url.rpartition("@")[2]):
        return None
    try:
        parts = urlsplit(url)
        fine = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if fine else None


def _without_host(parts: SplitResult) -> tuple[str | None, ...]:
    return parts.scheme, parts.username, parts.password, unquote(parts.path[1:]) or "/", parts.query
