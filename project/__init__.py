"""The example site (docs/architecture.md)."""
