"""Include these at the root of the site: `path("", include("….urls"))` (docs/protocol.md, section 4)."""

from django.urls import path

from . import views

app_name = "realtime"
urlpatterns = [
    path("socket_auth_token", views.socket_auth_token, name="socket_auth_token"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
]
