"""All paths of the site (docs/demo.md)."""

from django.contrib import admin
from django.urls import include, path

admin.site.site_header = "Message Flow"
admin.site.site_title = "Message Flow"
admin.site.index_title = "Administration"

urlpatterns = [
    path("", include("apps.realtime.urls")),
    path("accounts/", include("apps.accounts.urls")),
    path("admin/", admin.site.urls),
    path("", include("apps.demo.urls")),
]
