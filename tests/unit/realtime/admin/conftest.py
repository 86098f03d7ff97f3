"""Members of the staff with just the rights that a test gives them (docs/admin.md)."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tests.unit.conftest import MakeUser

StaffClient = Callable[..., Client]


@pytest.fixture
def staff_client(make_user: MakeUser) -> StaffClient:
    """`staff_client("view_stream")` is the browser of somebody who may open the admin, and has these permissions."""

    def make(*codenames: str, csrf_checks: bool = False) -> Client:
        user = make_user("staff", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="message_flow", codename__in=codenames)
        )
        client = Client(enforce_csrf_checks=csrf_checks)
        client.force_login(user)
        return client

    return make
