"""What a Daphne process runs: listener, hub, sessions (docs/node.md)."""
