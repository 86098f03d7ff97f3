"""Connects the receivers when Django starts (docs/demo.md)."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """The example application."""

    name = "apps.demo"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Comments that any process saves notify, so every process connects the receivers."""
        from . import receivers  # noqa: F401
