"""Reads nginx's configuration files as far as the doctor asks (nginx.org, "Configuration file's structure")."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# A text in quotes, a comment, one of the three signs, or a word. `${name}` within a word is part of it.
_TOKEN: Final = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(\#[^\n]*)|([;{}])|((?:\$\{[^}\s]*\}|[^\s;{}])+))"""
)
_UNITS_SECS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_TIME: Final = re.compile(r"(\d+)\s*(ms|[smhd])?")


class BadConfig(Exception):
    """The text is no configuration of nginx."""


@dataclass(slots=True)
class Directive:
    """One directive, with what stands in its braces; without braces nothing does."""

    name: str
    arguments: list[str]
    block: list["Directive"] = field(default_factory=list)


def parse(text: str) -> list[Directive]:
    """The directives of a file.

    Raises:
        BadConfig: braces or semicolons are missing.
    """
    levels: list[list[Directive]] = [[]]
    words: list[str] = []
    for kind, text_of_it in _tokens(text):
        if kind == "word":
            words.append(text_of_it)
        elif text_of_it == "}":
            if words or len(levels) == 1:
                raise BadConfig("unexpected }")
            levels.pop()
        elif not words:
            raise BadConfig(f"unexpected {text_of_it}")
        else:
            directive = Directive(words[0], words[1:])
            levels[-1].append(directive)
            words = []
            if text_of_it == "{":
                levels.append(directive.block)
    if words or len(levels) > 1:
        raise BadConfig("it ends within a directive")
    return levels[0]


def blocks(directives: list[Directive], name: str) -> Iterator[Directive]:
    """The directives of this name, at any depth."""
    for directive in directives:
        if directive.name == name:
            yield directive
        yield from blocks(directive.block, name)


def values(directives: list[Directive], name: str) -> list[list[str]]:
    """The arguments of each directive of this name that stands right here."""
    return [directive.arguments for directive in directives if directive.name == name]


def location_for(server: Directive, path: str) -> Directive | None:
    """The location of a server that answers a path, as nginx chooses it; None: the server itself does."""
    prefixes: list[tuple[str, bool, Directive]] = []
    patterns: list[Directive] = []
    for location in (directive for directive in server.block if directive.name == "location"):
        match location.arguments:
            case ["=", exactly] if exactly == path:
                return location
            case ["~" | "~*" as sign, pattern] if _matches(sign, pattern, path):
                patterns.append(location)
            case ["^~", prefix] if path.startswith(prefix):
                prefixes.append((prefix, True, location))
            case [prefix] if path.startswith(prefix):
                prefixes.append((prefix, False, location))
    _, final, longest = max(prefixes, key=lambda one: len(one[0]), default=("", False, None))
    return longest if final or not patterns else patterns[0]


def seconds(text: str) -> float | None:
    """A time such as `60s`, `1m30s` or `60`; None: it is no time."""
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        return None
    return sum(int(number) * _UNITS_SECS[unit or "s"] for number, unit in parts)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise BadConfig(f"unexpected {text[place : place + 20]!r}")
        place = found.end()
        double, single, comment, sign, word = found.groups()
        if sign:
            yield "sign", sign
        elif comment is None:
            yield "word", next(one for one in (double, single, word) if one is not None)


def _matches(sign: str, pattern: str, path: str) -> bool:
    try:
        return re.search(pattern, path, re.IGNORECASE if sign == "~*" else 0) is not None
    except re.error:
        return False
