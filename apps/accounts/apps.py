"""The application's name for Django (docs/demo.md)."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """No models of its own: the users are Django's."""

    name = "apps.accounts"
