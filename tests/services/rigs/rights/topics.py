"""Topics ruled by a permission, by a row, and by nothing."""

from typing import Any

from apps.realtime import topic


@topic("editors")
def may_follow_editors(user: Any) -> bool:
    """Who may change articles."""
    return bool(user.has_perm("demo.change_article"))


@topic("open-{name}")
def may_follow_anything(user: Any, name: str) -> bool:
    """Everybody, whatever a test revokes."""
    return True
