"""Real parts for tests, each small enough to be trusted (docs/stack.md)."""
