"""A project as others have it, that adopts the wheel under its public name (docs/architecture.md)."""
