"""The cursor of a page: read before its state, for what its reader may hear."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils.decorators import method_decorator
from django.views import View

from apps.realtime import cursor, json_with_cursor, with_cursor
from apps.realtime.core.names import Stream as Name
from apps.realtime.core.names import topic_stream, user_stream
from apps.realtime.cursors import Cursor, CursorNotTaken, taken_cursor
from apps.realtime.history import deployment_epoch
from apps.realtime.models import Stream
from apps.realtime.topics import TopicRegistry

from ..conftest import MakeUser

pytestmark = pytest.mark.django_db


def stand(name: str, head: int) -> None:
    Stream.objects.update_or_create(name=name, defaults={"epoch": "e", "head": head})


def at(seq: int) -> dict[str, Any]:
    return {"epoch": "e", "seq": seq}


@pytest.fixture
def request_of(rf: RequestFactory) -> Callable[[Any], HttpRequest]:
    """A request of this user."""

    def make(user: Any) -> HttpRequest:
        request = rf.get("/")
        request.user = user
        return request

    return make


@pytest.fixture
def alice(make_user: MakeUser) -> Any:
    """Her own stream and `all` have events."""
    alice = make_user("alice")
    stand(user_stream(str(alice.pk)), 7)
    stand("all", 3)
    return alice


def own(user: Any) -> Name:
    return user_stream(str(user.pk))


# --- cursor(request) ---


def test_ones_own_stream_and_that_of_everybody_in_one_query(
    alice: Any, request_of: Callable[[Any], HttpRequest]
) -> None:
    deployment_epoch()
    with CaptureQueriesContext(connection) as queries:
        assert cursor(request_of(alice)) == {own(alice): at(7), "all": at(3)}
    assert len(queries) == 1


def test_streams_without_an_event_have_a_place_too(
    make_user: MakeUser, request_of: Callable[[Any], HttpRequest]
) -> None:
    bob = make_user("bob")
    start = {"epoch": deployment_epoch(), "seq": 0}
    assert cursor(request_of(bob)) == {own(bob): start, "all": start}


def test_nobody_has_no_cursor(
    make_user: MakeUser, request_of: Callable[[Any], HttpRequest], rf: RequestFactory
) -> None:
    for request in (request_of(AnonymousUser()), request_of(make_user(is_active=False)), rf.get("/")):
        with CaptureQueriesContext(connection) as queries:
            assert cursor(request, ["news"]) == {}
        assert len(queries) == 0
        assert taken_cursor(request) == {}


def test_topics_that_the_user_may_hear(
    alice: Any, request_of: Callable[[Any], HttpRequest], topics: TopicRegistry
) -> None:
    for name in ("news", "order-1", "order-2"):
        stand(topic_stream(name), 5)
    taken = cursor(request_of(alice), ["news", "order-1", "order-2", "order-boom", "undeclared"])
    assert taken == {own(alice): at(7), "all": at(3), "topic.news": at(5), "topic.order-1": at(5)}


def test_a_text_is_no_list_of_topics(alice: Any, request_of: Callable[[Any], HttpRequest]) -> None:
    with pytest.raises(TypeError, match="'news'"):
        cursor(request_of(alice), "news")


def test_the_first_reading_of_a_stream_counts(
    alice: Any, request_of: Callable[[Any], HttpRequest], topics: TopicRegistry
) -> None:
    request = request_of(alice)
    cursor(request)
    stand("all", 4)
    stand("topic.news", 5)
    assert cursor(request, ["news"]) == {own(alice): at(7), "all": at(3), "topic.news": at(5)}
    assert taken_cursor(request) == cursor(request)


async def test_async_code_is_told(rf: RequestFactory, request_of: Callable[[Any], HttpRequest]) -> None:
    class Ann:
        pk = 1
        is_authenticated = is_active = True

    with pytest.raises(SynchronousOnlyOperation):
        cursor(request_of(Ann()))


# --- @with_cursor ---


def shows(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """A view in which an event is committed before its state is read."""
    stand("all", 100)
    return json_with_cursor(request, {"all": Stream.objects.get(name="all").head, "args": [*args, kwargs]})


def test_the_cursor_is_older_than_the_state(alice: Any, request_of: Callable[[Any], HttpRequest]) -> None:
    for decorated in (with_cursor(shows), with_cursor()(shows)):
        stand("all", 3)
        answer = json.loads(decorated(request_of(alice), 1, pk=2).content)
        assert answer == {"all": 100, "args": [1, {"pk": 2}], "cursor": {own(alice): at(7), "all": at(3)}}


def test_an_event_between_the_views_query_and_its_rendering(
    alice: Any, request_of: Callable[[Any], HttpRequest]
) -> None:
    """It is not in what was queried, so the cursor stands before it."""
    template = Template("{% load realtime %}{{ state }} {% realtime_cursor %}")

    @with_cursor
    def view(request: HttpRequest) -> HttpResponse:
        state = Stream.objects.get(name="all").head
        stand("all", 4)
        return HttpResponse(template.render(Context({"request": request, "state": state})))

    text = view(request_of(alice)).content.decode()
    assert text.startswith("3 ")
    assert f'"all": {json.dumps(at(3))}' in text


def test_topics_by_a_list_and_by_a_function(
    alice: Any, request_of: Callable[[Any], HttpRequest], topics: TopicRegistry
) -> None:
    def orders(request: HttpRequest, *, pk: int) -> list[str]:
        return [f"order-{pk}"]

    for given in (["order-1"], orders):
        request = request_of(alice)
        with_cursor(topics=given)(shows)(request, pk=1)
        assert taken_cursor(request).keys() == {own(alice), "all", "topic.order-1"}


def test_the_view_keeps_its_name() -> None:
    assert with_cursor(shows).__name__ == "shows"
    assert with_cursor()(shows).__doc__ == shows.__doc__


class Plain(View):
    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        return shows(request, pk)


@method_decorator(with_cursor(topics=lambda request, pk: [f"order-{pk}"]), name="dispatch")
class Decorated(Plain):
    pass


@pytest.mark.parametrize("view", [Decorated.as_view(), with_cursor(topics=["order-1"])(Plain.as_view())])
def test_views_of_classes(
    alice: Any, request_of: Callable[[Any], HttpRequest], topics: TopicRegistry, view: Callable[..., HttpResponse]
) -> None:
    answer = json.loads(view(request_of(alice), pk=1).content)
    assert answer["args"] == [1, {}]
    assert answer["cursor"].keys() == {own(alice), "all", "topic.order-1"}


async def looks(request: HttpRequest) -> Cursor:
    await asyncio.sleep(0)
    return taken_cursor(request)


class Async(View):
    async def get(self, request: HttpRequest) -> Cursor:
        return await looks(request)


@method_decorator(with_cursor, name="dispatch")
class DecoratedAsync(Async):
    pass


@pytest.mark.parametrize(
    "view",
    [with_cursor(looks), with_cursor(Async.as_view()), DecoratedAsync.as_view()],
    ids=["function", "view", "class"],
)
@pytest.mark.django_db(transaction=True)
async def test_async_views(
    request_of: Callable[[Any], HttpRequest], make_user: MakeUser, view: Callable[..., Awaitable[Cursor]]
) -> None:
    alice = await sync_to_async(make_user)()
    assert (await view(request_of(alice))).keys() == {own(alice), "all"}


# --- json_with_cursor ---


def test_a_snapshot_is_never_cached(alice: Any, request_of: Callable[[Any], HttpRequest]) -> None:
    request = request_of(alice)
    cursor(request)
    answer = json_with_cursor(request, {"n": 1, "cursor": "of the state"})
    assert json.loads(answer.content) == {"n": 1, "cursor": {own(alice): at(7), "all": at(3)}}
    assert "no-store" in answer["Cache-Control"]


def test_a_snapshot_without_a_cursor_is_refused(alice: Any, request_of: Callable[[Any], HttpRequest]) -> None:
    with pytest.raises(CursorNotTaken, match=r"@with_cursor\(\)"):
        json_with_cursor(request_of(alice), {})
