"""The pages read, and what they ask has a bound (docs/admin.md)."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db.models.functions import Now
from django.test import Client

from apps.realtime.admin import reading as module
from apps.realtime.admin.reading import BoundedPaginator, streams_meant
from apps.realtime.models import StoredEvent, Stream
from apps.realtime.node_models import LiveNode
from tests.unit.conftest import MakeUser

from .conftest import StaffClient

pytestmark = pytest.mark.django_db
MODELS = {"storedevent": StoredEvent, "stream": Stream, "livenode": LiveNode}


@pytest.fixture
def rows() -> dict[str, Any]:
    """One row of each model, by its name."""
    event = {"stream": "all", "mid": "m", "event_id": "x", "frame": "{}"}
    return {
        "storedevent": StoredEvent.objects.create(**event),
        "stream": Stream.objects.create(name="all", epoch="e1"),
        "livenode": LiveNode.objects.create(id="n1", name="web:12", seen_at=Now() - timedelta(minutes=5)),
    }


@pytest.mark.parametrize("model", MODELS)
def test_nobody_changes_anything_not_even_a_superuser(admin_client: Client, rows: dict[str, Any], model: str) -> None:
    base, key = f"/admin/message_flow/{model}", rows[model].pk
    assert admin_client.get(f"{base}/{key}/change/").status_code == 200
    before = list(MODELS[model].objects.values())  # type: ignore[attr-defined]
    for path in ("add/", f"{key}/change/", f"{key}/delete/"):
        assert admin_client.post(f"{base}/{path}", {"name": "changed", "_save": "1"}).status_code == 403
    assert admin_client.get(f"{base}/add/").status_code == 403
    delete = {"action": "delete_selected", "_selected_action": str(key), "post": "yes"}
    admin_client.post(f"{base}/", delete)
    assert list(MODELS[model].objects.values()) == before  # type: ignore[attr-defined]
    assert admin.site._registry[MODELS[model]].actions is None


@pytest.mark.parametrize("model", MODELS)
def test_each_page_is_for_staff_with_its_own_permission(
    staff_client: StaffClient, make_user: MakeUser, rows: dict[str, Any], model: str
) -> None:
    paths = [f"/admin/message_flow/{model}/", f"/admin/message_flow/{model}/{rows[model].pk}/change/"]
    visitor, user = Client(), Client()
    user.force_login(make_user("alice"))
    others = staff_client(*(f"view_{other}" for other in MODELS if other != model), "kick_session")
    for path in paths:
        for client in (visitor, user):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/login/?next={path}")
        assert others.get(path).status_code == 403


@pytest.mark.parametrize("model", MODELS)
def test_with_its_permission_it_is_seen(staff_client: StaffClient, rows: dict[str, Any], model: str) -> None:
    client = staff_client(f"view_{model}")
    assert client.get(f"/admin/message_flow/{model}/").status_code == 200
    assert client.get(f"/admin/message_flow/{model}/{rows[model].pk}/change/").status_code == 200


@pytest.mark.parametrize("model", ["storedevent", "stream"])
@pytest.mark.parametrize("query", ["frame__contains=a", "epoch=e1", "mid__regex=a", "created_at__gt=2000-01-01"])
def test_no_condition_that_has_no_index_comes_by_the_address(admin_client: Client, model: str, query: str) -> None:
    assert admin_client.get(f"/admin/message_flow/{model}/?{query}").status_code == 400


@pytest.mark.parametrize("model", ["storedevent", "stream"])
def test_no_order_and_no_counts_come_by_the_address(admin_client: Client, model: str) -> None:
    answer = admin_client.get(f"/admin/message_flow/{model}/?o=3.-2&_facets=True")
    assert answer.status_code == 200
    assert [str(one).lstrip("-") for one in answer.context["cl"].queryset.query.order_by] == [
        "name" if model == "stream" else "id"
    ]
    assert not answer.context["cl"].add_facets


def test_a_count_ends_where_the_list_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        Stream.objects.create(name=name, epoch="e1")
    rows = Stream.objects.order_by("name")
    assert BoundedPaginator(rows, 1).count == 3
    monkeypatch.setattr(module, "LISTED_MAX", 2)
    paginator = BoundedPaginator(rows, 1)
    assert (paginator.count, paginator.num_pages) == (2, 2)


def test_a_word_means_a_stream_or_users(make_user: MakeUser) -> None:
    alice = make_user("alice")
    number = make_user(str(alice.pk))
    assert streams_meant("topic.news") == ["topic.news"]
    assert streams_meant("alice") == [f"user.{alice.pk}"]
    assert streams_meant(str(alice.pk)) == [f"user.{number.pk}", f"user.{alice.pk}"]
    assert streams_meant("nobody") == []
