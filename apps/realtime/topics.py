"""Topics that a project declares, each with a pattern and a rule (docs/topics.md).

    # myshop/topics.py
    @topic("order-{id}")
    def may_follow_order(user, id):
        return Order.objects.filter(pk=id, customer=user).exists()

The rules of every installed app's `topics` module are collected when Django starts; a name that no pattern declares is
refused before it touches an AMQP key.
"""

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from django.apps import AppConfig, apps
from django.db import InterfaceError, OperationalError
from django.utils.module_loading import module_has_submodule

from .core.errors import UnknownTopic
from .core.names import NAME_MAX_CHARS

logger = logging.getLogger(__name__)

_PLACEHOLDER: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")

# Called with the user and the pattern's placeholders as texts, in a thread that may use the database.
Rule = Callable[..., bool]


@dataclass(frozen=True, slots=True)
class Topic:
    """A recipient of `notify` and `push`: everybody who listens to the topic of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class TopicRule:
    """A declared pattern with its rule; still callable as the function it was made from."""

    pattern: str
    rule: Rule
    regex: re.Pattern[str]
    history: bool

    def __call__(self, *args: Any, **kwargs: Any) -> bool:
        return self.rule(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class TopicMatch:
    """A name that a pattern declares."""

    rule: TopicRule
    params: dict[str, str]

    def allows(self, user: Any) -> bool:
        """Ask the project's rule; it may use the database."""
        return bool(self.rule(user, **self.params))


def topic(pattern: str, *, history: bool = True) -> Callable[[Rule], TopicRule]:
    """Declare topics by a pattern such as `order-{id}`; the decorated function says who may listen.

    A placeholder matches one or more characters of any kind: what it holds is checked by the rule, as any user input.
    Whoever may listen gets what was missed too; with `history=False` a page that was away is told to load anew instead.

    Raises:
        ValueError: an empty or too long pattern, a stray brace, or a placeholder that occurs twice.
    """
    names = _PLACEHOLDER.findall(pattern)
    literals = _PLACEHOLDER.split(pattern)[::2]
    if not pattern or len(pattern) > NAME_MAX_CHARS or any(set(text) & set("{}") for text in literals):
        raise ValueError(f"the topic pattern {pattern!r} is no text with placeholders such as order-{{id}}")
    if len(names) != len(set(names)):
        raise ValueError(f"the topic pattern {pattern!r} names a placeholder twice")
    parts = [re.escape(literals[0])]
    for name, text in zip(names, literals[1:], strict=True):
        parts.append(f"(?P<{name}>.+){re.escape(text)}")
    regex = re.compile("".join(parts), re.DOTALL)

    def declare(rule: Rule) -> TopicRule:
        return TopicRule(pattern, rule, regex, history)

    return declare


class TopicRegistry:
    """All declared topics of a site, in the order of INSTALLED_APPS."""

    def __init__(self, rules: Iterable[TopicRule]) -> None:
        self.rules = tuple(rules)

    def find(self, name: str) -> TopicMatch | None:
        """The first pattern that the whole name matches."""
        if len(name) > NAME_MAX_CHARS:
            return None
        for rule in self.rules:
            match = rule.regex.fullmatch(name)
            if match is not None:
                return TopicMatch(rule, match.groupdict())
        return None

    def keeps_history(self, name: str) -> bool:
        """Whether who comes back to the topic may have what it missed."""
        match = self.find(name)
        return match is not None and match.rule.history

    def allows(self, user: Any, name: str) -> bool:
        """Whether this user may listen to the topic; False for one that is not declared.

        Raises:
            django.db.Error: the database is away, so no verdict is possible.
        """
        match = self.find(name)
        if match is None:
            return False
        try:
            return match.allows(user)
        except (InterfaceError, OperationalError):
            raise  # not "denied" (protocol.md, resume, 7)
        except Exception:
            # The project's rule met a name that it did not expect. Nobody gets in by breaking it.
            logger.exception("The rule of topic pattern %r failed; denied", match.rule.pattern)
            return False

    def require(self, name: str) -> None:
        """
        Raises:
            UnknownTopic: no pattern declares the name.
        """
        if self.find(name) is None:
            declared = ", ".join(repr(rule.pattern) for rule in self.rules) or "none"
            raise UnknownTopic(f"no topic is declared for {name!r}; declared patterns: {declared}")


def discover_topics(configs: Iterable[AppConfig]) -> TopicRegistry:
    """Collect the rules of every app's `topics` module."""
    rules: dict[TopicRule, None] = {}
    for config in configs:
        if config.module is None or not module_has_submodule(config.module, "topics"):
            continue
        module = import_module(f"{config.name}.topics")
        rules.update((value, None) for value in vars(module).values() if isinstance(value, TopicRule))
    return TopicRegistry(rules)


def topic_registry() -> TopicRegistry:
    """The registry of the running site."""
    registry = apps.get_app_config("message_flow").topics  # type: ignore[attr-defined]
    assert isinstance(registry, TopicRegistry)
    return registry
