"""Who may follow an order (docs/architecture.md)."""

# mypy: ignore-errors

from message_flow import topic


@topic("order-{id}")
def may_follow_order(user, id):
    """Everybody has order 7 and no other."""
    return id == "7"
