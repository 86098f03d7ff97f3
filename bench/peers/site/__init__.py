"""The example site with a topic for the bench (docs/performance.md)."""
