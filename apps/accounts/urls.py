"""Paths and names are Django's own, so that LOGIN_URL and others keep their defaults (docs/demo.md)."""

from django.urls import path

from . import views

app_name = "accounts"
urlpatterns = [
    path("login/", views.SignIn.as_view(), name="login"),
    path("logout/", views.SignOut.as_view(), name="logout"),
    path("password_change/", views.ChangePassword.as_view(), name="password_change"),
    path("password_change/done/", views.PasswordChanged.as_view(), name="password_change_done"),
    path("profile/", views.Profile.as_view(), name="profile"),
]
