"""Django's own views with this site's templates (docs/demo.md)."""

from typing import Any

from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.mixins import LoginRequiredMixin
from django.urls import reverse_lazy
from django.views.generic import TemplateView


class SignIn(views.LoginView):
    """The sign-in page."""

    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Tell the template whether the demo users exist."""
        return super().get_context_data(demo=settings.DEMO, **kwargs)


class ChangePassword(views.PasswordChangeView):
    """Asks for the old password and twice for the new one."""

    template_name = "accounts/change_password.html"
    success_url = reverse_lazy("accounts:password_change_done")


class PasswordChanged(views.PasswordChangeDoneView):
    """Says that it worked."""

    template_name = "accounts/password_changed.html"


class Profile(LoginRequiredMixin, TemplateView):
    """The user's own page."""

    template_name = "accounts/profile.html"
