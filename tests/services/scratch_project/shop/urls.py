"""The project's paths, and the library's (docs/architecture.md)."""

# mypy: ignore-errors

from django.urls import include, path

from . import views

urlpatterns = [
    path("enter/", views.enter),
    path("ship/", views.ship),
    path("stock/", views.stock),
    path("", include("message_flow.urls")),
]
