"""Include these at the root of the site: `path("", include("….urls"))` (docs/protocol.md, section 4)."""

from django.urls import path

from . import views
from .inbox import views as inbox

app_name = "realtime"
urlpatterns = [
    path("socket_auth_token", views.socket_auth_token, name="socket_auth_token"),
    path("inbox", inbox.inbox, name="inbox"),
    path("inbox/read", inbox.read, name="inbox_read"),
    path("inbox/unread", inbox.unread, name="inbox_unread"),
    path("inbox/hide", inbox.hide, name="inbox_hide"),
    path("inbox/mute", inbox.mute, name="inbox_mute"),
    path("inbox/unmute", inbox.unmute, name="inbox_unmute"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
]
