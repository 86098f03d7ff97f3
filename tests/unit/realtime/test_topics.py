"""Patterns, and what no pattern declares (docs/topics.md)."""

import sys
from types import ModuleType
from typing import Any

import pytest
from django.apps import AppConfig, apps
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.core.errors import UnknownTopic
from apps.realtime.topics import TopicRegistry, TopicRule, discover_topics, topic, topic_registry


def rule(pattern: str) -> TopicRule:
    @topic(pattern)
    def may_hear(user: Any, **params: str) -> bool:
        return True

    return may_hear


def params(pattern: str, name: str) -> dict[str, str] | None:
    match = TopicRegistry([rule(pattern)]).find(name)
    return None if match is None else match.params


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("news", "news", {}),
        ("news", "News", None),
        ("news", "news2", None),
        ("news", "xnews", None),
        ("news", "news\n", None),
        ("news", "", None),
        ("order-{id}", "order-17", {"id": "17"}),
        ("order-{id}", "order-", None),
        ("order-{id}", "order", None),
        ("order-{id}", "xorder-17", None),
        ("order-{id}", "order-a.b", {"id": "a.b"}),
        ("order-{id}", "order-#", {"id": "#"}),
        ("order-{id}", "order-\n", {"id": "\n"}),
        ("order-{id}", "order-\0", {"id": "\0"}),
        ("order-{id}", "order-😀", {"id": "😀"}),
        ("order-{id}", "order-{id}", {"id": "{id}"}),
        ("{a}-{b}", "x-y-z", {"a": "x-y", "b": "z"}),  # the first is greedy
        ("{a}{b}", "xyz", {"a": "xy", "b": "z"}),
        ("{a}/comments/{b}", "1/comments/2", {"a": "1", "b": "2"}),
        ("a.b*c(", "a.b*c(", {}),  # the rest of a pattern is plain text
        ("a.b*c(", "axb*c(", None),
        ("order-{id}", "order-" + "9" * 249, {"id": "9" * 249}),
        ("order-{id}", "order-" + "9" * 294, None),  # 300 characters
    ],
)
def test_a_pattern_matches_the_whole_name(pattern: str, name: str, expected: dict[str, str] | None) -> None:
    assert params(pattern, name) == expected


@pytest.mark.parametrize("pattern", ["", "{", "a}", "{A}", "{1}", "{}", "{a b}", "{{a}}", "{a}-{a}", "x" * 256])
def test_a_pattern_that_makes_no_sense_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="the topic pattern"):
        topic(pattern)


def test_the_first_pattern_wins() -> None:
    special, general = rule("order-special"), rule("order-{id}")
    match = TopicRegistry([special, general]).find("order-special")
    assert match is not None
    assert match.rule is special


def test_an_undeclared_name_is_refused_with_what_is_declared() -> None:
    with pytest.raises(UnknownTopic, match=r"'x'; declared patterns: 'news', 'order-\{id\}'"):
        TopicRegistry([rule("news"), rule("order-{id}")]).require("x")
    with pytest.raises(UnknownTopic, match="declared patterns: none"):
        TopicRegistry([]).require("x")
    TopicRegistry([rule("news")]).require("news")


@given(st.text(max_size=300))
def test_no_name_does_more_than_not_matching(name: str) -> None:
    match = TopicRegistry([rule("order-{id}"), rule("{a}.{b}")]).find(name)
    if match is not None and match.rule.pattern == "order-{id}":
        assert name == f"order-{match.params['id']}"


def test_the_rule_decides_and_stays_a_function() -> None:
    @topic("order-{id}")
    def may_hear(user: Any, id: str) -> bool:
        return bool(user == "alice" and id == "1")

    registry = TopicRegistry([may_hear])
    match = registry.find("order-1")
    assert match is not None
    assert match.allows("alice") is True
    assert match.allows("bob") is False
    assert may_hear("alice", id="1") is True


def test_history_is_kept_unless_a_pattern_says_otherwise() -> None:
    @topic("cursor-{id}", history=False)
    def may_see_cursor(user: Any, id: str) -> bool:
        return True

    registry = TopicRegistry([may_see_cursor, rule("{any}-{id}")])
    assert registry.keeps_history("order-1")
    assert not registry.keeps_history("cursor-1")
    assert not registry.keeps_history("undeclared")


def test_a_rule_that_answers_with_something_truthy_counts() -> None:
    @topic("t")
    def may_hear(user: Any) -> bool:
        return [user]  # type: ignore[return-value]

    match = TopicRegistry([may_hear]).find("t")
    assert match is not None
    assert match.allows("alice") is True


def test_the_topics_modules_of_all_apps_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = rule("from-a-module")
    module = ModuleType("shop")
    module.__path__ = ["/nowhere"]
    topics_module = ModuleType("shop.topics")
    vars(topics_module).update(may_hear=declared, alias=declared, other="no rule")
    monkeypatch.setitem(sys.modules, "shop", module)
    monkeypatch.setitem(sys.modules, "shop.topics", topics_module)

    class Config(AppConfig):
        path = "/nowhere"

    without = Config("plain", ModuleType("plain"))
    nothing = Config("nothing", None)
    assert discover_topics([without, nothing]).rules == ()
    monkeypatch.setattr("apps.realtime.topics.module_has_submodule", lambda package, name: package is module)
    assert discover_topics([Config("shop", module), without]).rules == (declared,)


def test_the_site_s_topics_are_found() -> None:
    assert topic_registry() is apps.get_app_config("message_flow").topics  # type: ignore[attr-defined]
    assert topic_registry().find("article-1") is not None
