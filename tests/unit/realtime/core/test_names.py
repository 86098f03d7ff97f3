"""Escaping of ids and names (docs/protocol.md, section 3)."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.realtime.core.errors import BadRecipient
from apps.realtime.core.names import (
    ALL,
    CONTROL,
    ESCAPED_MAX_BYTES,
    NAME_MAX_CHARS,
    escape,
    is_routing_key,
    is_stream,
    topic_stream,
    user_stream,
)

# Any text that UTF-8 can hold, with the characters that mean something to AMQP and to the escaping made likely.
names = st.text(
    st.one_of(st.sampled_from(".*#%~ aA0-_/\0\n"), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=NAME_MAX_CHARS,
)
_SAFE = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+|~[0-9a-f]{64}")
_TRICKY = ["a", ".", "a.b", "*", "#", "a#", "%2E", "%", "~", " ", "é", "😀", "é" * 255, "😀" * 255, "\0", "\n", "all"]


@given(names)
@example("😀" * NAME_MAX_CHARS)
@example("\ufffd" * NAME_MAX_CHARS)
@example("a" * ESCAPED_MAX_BYTES)
@example("a" * (ESCAPED_MAX_BYTES + 1))
def test_an_escaped_name_has_no_structure_of_its_own_and_is_short(name: str) -> None:
    escaped = escape(name)
    assert _SAFE.fullmatch(escaped)
    assert len(escaped.encode()) <= ESCAPED_MAX_BYTES


@given(st.lists(names, min_size=2, max_size=20, unique=True))
@example(_TRICKY)
def test_no_two_names_give_one_key(several: list[str]) -> None:
    keys = {stream for name in several for stream in (user_stream(name), topic_stream(name))}
    assert len(keys) == 2 * len(several)


@given(names)
def test_a_digest_cannot_be_claimed_by_a_name(name: str) -> None:
    digest = escape("é" * 255)
    assert digest.startswith("~")
    if name != "é" * 255:
        assert escape(name) != digest
    assert escape(digest) != digest


@given(names, names)
def test_no_key_matches_another_one_as_a_binding_pattern(one: str, other: str) -> None:
    # A topic exchange splits keys at dots and gives `*` and `#` a meaning: ours have exactly two words.
    for stream in (user_stream(one), topic_stream(other)):
        words = stream.split(".")
        assert len(words) == 2
        assert not set(words[1]) & set("*#")


@given(names)
def test_every_stream_that_is_made_is_a_stream(name: str) -> None:
    assert is_stream(user_stream(name))
    assert is_stream(topic_stream(name))


@pytest.mark.parametrize(
    "key",
    ["", "all.", "all.x", "user", "user.", ".x", "user.a.b", "user.*", "topic.#", "#", "*", "x.y", "user.a b"],
)
def test_a_routing_key_that_is_none_of_ours_is_no_stream(key: str) -> None:
    assert not is_stream(key)


def test_everybody_is_a_stream() -> None:
    assert is_stream(ALL)


def test_what_is_for_nodes_alone_is_a_key_and_no_stream() -> None:
    assert not is_stream(CONTROL)
    assert all(is_routing_key(key) for key in (CONTROL, ALL, user_stream("7")))
    assert not is_routing_key("control.x")


@pytest.mark.parametrize("name", ["", "a" * (NAME_MAX_CHARS + 1), "\ud800", "ok\udfff"])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadRecipient):
        escape(name)


def test_plain_ids_stay_readable() -> None:
    assert user_stream("17") == "user.17"
    assert user_stream("5e1f0a4e-6d0b-4d6e-9a34-1c2d3e4f5a6b") == "user.5e1f0a4e-6d0b-4d6e-9a34-1c2d3e4f5a6b"
    assert topic_stream("a.b*#~ %é") == "topic.a%2Eb%2A%23%7E%20%25%C3%A9"
