"""Measurements beside peers, in one run (docs/chaos.md)."""
