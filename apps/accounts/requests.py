"""A request of a signed-in user, for the type checker (docs/demo.md)."""

from django.contrib.auth.models import User
from django.http import HttpRequest


class SignedInRequest(HttpRequest):
    """What a view behind `login_required` gets."""

    user: User
