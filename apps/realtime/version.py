"""The version of the wheel and of the running product (docs/architecture.md)."""

__version__ = "0.1.0"
