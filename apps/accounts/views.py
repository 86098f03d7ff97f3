"""Django's own views with this site's templates (docs/demo.md).

The answers that begin or end a session also expire the cookie in which pages of 2016 keep their token: it would
outlive the session and be refused (docs/protocol.md, section 2).
"""

from typing import Any, Final

from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse_lazy
from django.views.generic import TemplateView

OLD_TOKEN_COOKIE: Final = "auth_token"  # noqa: S105 - the name of a cookie


class ExpireOldToken:
    """Mixed into a view: its answer to a POST drops the cookie of 2016."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Pass the request on and add the cookie's end to the response."""
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        if request.method == "POST":
            response.delete_cookie(OLD_TOKEN_COOKIE)
        return response


class SignIn(ExpireOldToken, views.LoginView):
    """The sign-in page."""

    template_name = "accounts/sign_in.html"
    next_page = reverse_lazy("demo:home")
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Tell the template whether the demo users exist."""
        return super().get_context_data(demo=settings.DEMO, **kwargs)


class SignOut(ExpireOldToken, views.LogoutView):
    """Ends the session; POST only."""

    next_page = reverse_lazy("accounts:login")


class ChangePassword(ExpireOldToken, views.PasswordChangeView):
    """Asks for the old password and twice for the new one."""

    template_name = "accounts/change_password.html"
    success_url = reverse_lazy("accounts:password_change_done")


class PasswordChanged(views.PasswordChangeDoneView):
    """Says that it worked."""

    template_name = "accounts/password_changed.html"


class Profile(LoginRequiredMixin, TemplateView):
    """The user's own page."""

    template_name = "accounts/profile.html"
