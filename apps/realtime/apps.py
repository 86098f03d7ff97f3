"""The Django app, under either of its import names (docs/architecture.md)."""

from django.apps import AppConfig, apps


class RealtimeConfig(AppConfig):
    """One label for both names, so that tables and migrations are the same in the wheel and in this tree.

    Attributes:
        topics: what the project's `topics` modules declare; set by `ready`.
        publishing: this process's publisher; set by `ready`.
        database_probe: asks whether the database answers; set by `ready`.
    """

    name = __package__ or ""
    label = "message_flow"
    verbose_name = "Message Flow"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.conf import settings

        from . import checks, deploy_checks, signals  # noqa: F401 - importing registers them
        from .health import DatabaseProbe
        from .publishing.process import PublishingProcess
        from .topics import discover_topics

        if getattr(settings, "REALTIME_UNSEEN_DIGEST", False):
            from .unseen.digest import connect_digest

            connect_digest()
        self.topics = discover_topics(apps.get_app_configs())
        self.publishing = PublishingProcess()
        self.database_probe = DatabaseProbe()
