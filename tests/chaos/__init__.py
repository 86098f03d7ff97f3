"""Breaks every part of a running site on purpose and counts what each tab applied (docs/chaos.md)."""
