"""Sign-in, sign-out, password change and the user's page; paths and names are Django's own (docs/demo.md)."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views

app_name = "accounts"
urlpatterns = [
    path("login/", views.SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("password_change/", views.ChangePassword.as_view(), name="password_change"),
    path("password_change/done/", views.PasswordChanged.as_view(), name="password_change_done"),
    path("profile/", views.Profile.as_view(), name="profile"),
]
