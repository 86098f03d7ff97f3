"""The cursor that a page or a snapshot carries: where its reader's streams stood before its state was read.

The browser client goes on from there (docs/browser-client.md), so nothing falls between the state and the socket. What
is committed between the two readings is in the state and comes as an event too.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import isawaitable
from typing import Any, Final, TypedDict, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest, JsonResponse
from django.utils.cache import add_never_cache_headers

from .core.errors import RealtimeError
from .core.names import ALL, topic_stream, user_stream
from .topics import topic_registry

_ATTRIBUTE: Final = "realtime_cursor"


class Position(TypedDict):
    """The last event of a stream that the state holds for certain."""

    epoch: str
    seq: int


Cursor = dict[str, Position]
View = TypeVar("View", bound=Callable[..., Any])
# Names, or a function that is called like the view and returns them.
Topics = Iterable[str] | Callable[..., Iterable[str]]


class CursorNotTaken(RealtimeError):
    """A page or a snapshot has no cursor."""


def cursor(request: HttpRequest, topics: Iterable[str] = ()) -> Cursor:
    """Where the streams of the request's user stand: their own, `all`, and the topics that they may hear.

    To be called before the state is read that the answer will show. It is kept for `{% realtime_cursor %}` and
    `json_with_cursor`; of a stream that it is called for twice, the first reading counts.

    Returns:
        `{stream: {"epoch": …, "seq": …}}`; empty where nobody is signed in.

    Raises:
        django.db.Error: the database gave no answer.
    """
    from .history import heads
    from .signin import requesting_user

    if isinstance(topics, str):
        raise TypeError(f"topics={topics!r}: pass a list of names")
    taken: Cursor = getattr(request, _ATTRIBUTE, {})
    user = requesting_user(request)
    if user is not None:
        registry = topic_registry()
        heard = [topic_stream(name) for name in topics if registry.allows(user, name)]
        missing = [stream for stream in (user_stream(str(user.pk)), ALL, *heard) if stream not in taken]
        read = heads(missing) if missing else {}
        taken = taken | {stream: Position(epoch=head.epoch, seq=head.head) for stream, head in read.items()}
    setattr(request, _ATTRIBUTE, taken)
    return taken


@overload
def with_cursor(view: View) -> View: ...
@overload
def with_cursor(view: None = None, *, topics: Topics = ()) -> Callable[[View], View]: ...
def with_cursor(view: Callable[..., Any] | None = None, *, topics: Topics = ()) -> Any:
    """Decorate a view, sync or async, so that `cursor` is called before its body runs.

        @with_cursor(topics=lambda request, pk: [f"order-{pk}"])
        def order(request, pk): ...

    `method_decorator(with_cursor(topics=…), name="dispatch")` does the same for a class.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        def take(request: HttpRequest, *args: Any, **kwargs: Any) -> None:
            cursor(request, topics(request, *args, **kwargs) if callable(topics) else topics)

        async def later(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            await sync_to_async(take)(request, *args, **kwargs)
            answer = view(request, *args, **kwargs)
            return await answer if isawaitable(answer) else answer

        if iscoroutinefunction(view):
            return wraps(view)(later)

        @wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            # `dispatch` of a class with async handlers is a plain function.
            if _in_event_loop():
                return later(request, *args, **kwargs)
            take(request, *args, **kwargs)
            return view(request, *args, **kwargs)

        return wrapper

    return decorate if view is None else decorate(view)


def taken_cursor(request: HttpRequest) -> Cursor:
    """What `cursor` has returned for this request.

    Raises:
        CursorNotTaken: it was not called. Calling it now would be too late: the state has been read.
    """
    taken: Cursor | None = getattr(request, _ATTRIBUTE, None)
    if taken is None:
        raise CursorNotTaken(
            "no cursor was taken before this state was read: decorate the view with @with_cursor(), or call "
            "cursor(request) in its first line"
        )
    return taken


def json_with_cursor(request: HttpRequest, state: Mapping[str, Any]) -> JsonResponse:
    """Answer with `state` and the request's cursor as its `cursor`: a snapshot for the browser client. Never cached.

    Raises:
        CursorNotTaken: see `taken_cursor`.
    """
    response = JsonResponse({**state, "cursor": taken_cursor(request)})
    add_never_cache_headers(response)
    return response


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
