"""Carries events from the publishing process to the nodes (docs/brokers.md)."""
