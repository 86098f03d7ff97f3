"""The project's own Channels routes, and the library in front of them (docs/architecture.md)."""

# mypy: ignore-errors

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django_app = get_asgi_application()

from message_flow.asgi import application as realtime_application  # noqa: E402 - needs the apps to be loaded

from shop.rooms import Room  # noqa: E402

application = ProtocolTypeRouter(
    {"http": django_app, "websocket": AuthMiddlewareStack(URLRouter([path("ws/room/", Room.as_asgi())]))}
)
application = realtime_application(application)
