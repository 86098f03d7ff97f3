"""Clients whose network is cut for 2 s, again and again: who delivers what (docs/chaos.md)."""
