"""What daphne serves: the socket, and Django beside it (docs/node.md)."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_app = get_asgi_application()

from apps.realtime.asgi import application as realtime_application  # noqa: E402 - needs the apps to be loaded

application = realtime_application(django_app)
