"""Notifications that no tab has acknowledged (docs/unseen.md)."""
