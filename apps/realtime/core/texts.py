"""Titles, links and groups of notifications: what people read and follow (docs/inbox.md).

They are often made of what other people have typed. So whatever could lead somewhere else is refused, and what nobody
can see takes no effect.
"""

import re
import reprlib
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from .errors import BadEvent

# Two lines of a list.
TITLE_MAX_CHARS: Final = 200
URL_MAX_CHARS: Final = 2_000
GROUP_MAX_CHARS: Final = 200
# Unicode's category Cc.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def checked_title(event_id: str, title: Any) -> str:
    """The title as it is shown: runs of control characters are a space, there are none at its ends.

    Not refused, because the one who typed them is not the one whose page would fail.

    Raises:
        BadEvent: no text, empty, over 200 characters, or no valid Unicode.
    """
    text = _CONTROLS.sub(" ", _text(event_id, "title", title)).strip()
    if not text or len(text) > TITLE_MAX_CHARS:
        raise BadEvent(
            f"the title of event {event_id!r} has 1 to {TITLE_MAX_CHARS} characters, not {len(text)}: shorten it"
        )
    return text


def checked_group(event_id: str, group: Any) -> str:
    """The group as it was given.

    Raises:
        BadEvent: no text, empty, over 200 characters, no valid Unicode, or with a control character.
    """
    return _checked(event_id, "group", group, GROUP_MAX_CHARS)


def checked_url(event_id: str, url: Any) -> str:
    """The link as it was given.

    Raises:
        BadEvent: no text, empty, over 2,000 characters, no valid Unicode, or with a control character.
    """
    return _checked(event_id, "url", url, URL_MAX_CHARS)


def require_own_url(event_id: str, url: str, hosts: Collection[str]) -> None:
    """See that a link leads to this site: a path of it, or http or https to one of its hosts.

    Args:
        hosts: names as in Django's ALLOWED_HOSTS; patterns (`*`, `.example.com`) match nothing.

    Raises:
        BadEvent: it leads somewhere else, or browsers and we might read it differently.
    """
    if not _is_own(url, {host.lower() for host in hosts if host != "*" and not host.startswith(".")}):
        raise BadEvent(
            f"the url of event {event_id!r} is {_quoted(url)}: use a path of this site, such as /orders/5, or http(s) "
            "to a host that ALLOWED_HOSTS names"
        )


def _is_own(url: str, hosts: Collection[str]) -> bool:
    # Browsers take a backslash for a slash (URL Standard, 4.4), and drop tabs and line breaks.
    if "\\" in url or _CONTROLS.search(url):
        return False
    if url.startswith("/"):
        return not url.startswith("//")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    # Who reads `site@elsewhere` is easily led.
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return False
    # IPv6 addresses stand in brackets there.
    return host in hosts or f"[{host}]" in hosts


def _checked(event_id: str, name: str, value: Any, most_chars: int) -> str:
    text = _text(event_id, name, value)
    if not text or len(text) > most_chars or _CONTROLS.search(text):
        raise BadEvent(
            f"the {name} of event {event_id!r} is {_quoted(text)}: use 1 to {most_chars} characters, none of them "
            "a control character"
        )
    return text


def _text(event_id: str, name: str, value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise BadEvent(f"the {name} of event {event_id!r} is a text, not {_quoted(value)}")


def _quoted(value: Any) -> str:
    # Anybody's input, on its way into a message and a log: short, and never evaluated as a whole.
    return reprlib.repr(value)
