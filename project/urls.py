"""All paths of the site (docs/demo.md)."""

from django.contrib import admin
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import include, path
from django.views.decorators.cache import cache_control

admin.site.site_header = "Message Flow"
admin.site.site_title = "Message Flow"
admin.site.index_title = "Administration"


@cache_control(max_age=86_400, public=True)
def favicon(request: HttpRequest) -> HttpResponse:
    """Browsers ask for it on pages that name no icon, such as the admin's."""
    return redirect(staticfiles_storage.url("demo/favicon.svg"))


urlpatterns = [
    path("favicon.ico", favicon),
    path("", include("apps.realtime.urls")),
    path("accounts/", include("apps.accounts.urls")),
    path("admin/", admin.site.urls),
    path("", include("apps.demo.urls")),
]
