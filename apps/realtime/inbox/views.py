"""The inbox over HTTP: a page, and JSON for scripts (docs/protocol.md, section 4). Everybody sees their own only."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from ..core.errors import BadEvent
from ..core.events import UNREAD_MAX
from ..cursors import cursor, json_with_cursor
from ..publishing.targets import Target, user_target
from ..signin import requesting_user
from . import changes, listing
from .models import InboxItem

# Django's own default for the fields of a form, which a project may lift.
MIDS_MAX: Final = 1_000


class _Refused(Exception):
    """A request that means nothing; its text is for the developer who sent it."""


@never_cache
@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """The newest notifications, or with `?before=` those older than one; 401 or the sign-in page for strangers."""
    # Before the state is read, so that no change falls between.
    cursor(request)
    target = _target(request)
    if target is None:
        return _sign_in_first(request, request.get_full_path())
    page = listing.page(target.stream, request.GET.get("before"))
    older = None if page.next is None else f"{request.path}?{urlencode({'before': page.next})}"
    state = {"unread": listing.unread(target.stream), "muted": listing.muted(target.stream), "next": older}
    if _wants_json(request):
        response: HttpResponse = json_with_cursor(request, {**state, "items": list(map(_as_json, page.items))})
    else:
        context = {"items": page.items, "unread_max": UNREAD_MAX, "undo": request.GET.get("undo"), **state}
        response = render(request, "realtime/inbox.html", context)
    patch_vary_headers(response, ["Accept", "Cookie"])
    return response


def _change(apply: Callable[[Target, QueryDict], str | None]) -> Callable[[HttpRequest], HttpResponse]:
    """A view for form posts, of scripts and of the page; with the new count, or back to the page."""

    def view(request: HttpRequest) -> HttpResponse:
        target = _target(request)
        if target is None:
            return _sign_in_first(request, reverse("realtime:inbox"))
        try:
            undo = apply(target, request.POST)
        except (_Refused, BadEvent) as error:
            return JsonResponse({"error": str(error)}, status=HTTPStatus.BAD_REQUEST)
        if _wants_json(request):
            return JsonResponse({"unread": listing.unread(target.stream), "undo": undo})
        back = {"before": request.POST.get("before"), "undo": undo}
        query = urlencode({name: value for name, value in back.items() if value})
        # 303: the browser GETs the page.
        location = reverse("realtime:inbox") + (query and f"?{query}")
        return HttpResponse(status=HTTPStatus.SEE_OTHER, headers={"Location": location})

    return never_cache(require_POST(csrf_protect(view)))


@_change
def read(target: Target, fields: QueryDict) -> str | None:
    """`mid`, once or often, or `upto`: a handle, or `all`."""
    upto = fields.get("upto")
    if upto is None:
        return changes.read(target, _mids(fields))
    return changes.read_all(target) if upto == "all" else changes.read_up_to(target, upto)


@_change
def unread(target: Target, fields: QueryDict) -> None:
    """`mid`, once or often, or `undo`."""
    token = fields.get("undo")
    if token is None:
        changes.unread(target, _mids(fields))
    else:
        changes.undo(target, token)


@_change
def hide(target: Target, fields: QueryDict) -> None:
    """`mid`, once or often."""
    changes.hide(target, _mids(fields))


@_change
def mute(target: Target, fields: QueryDict) -> None:
    """`id`, of events."""
    try:
        changes.mute(target, fields.get("id", ""))
    except changes.TooManyMutes as error:
        raise _Refused(f"{changes.MUTES_MAX} event ids are muted, and that is as many as can be") from error


@_change
def unmute(target: Target, fields: QueryDict) -> None:
    """`id`, of events."""
    changes.unmute(target, fields.get("id", ""))


def _mids(fields: QueryDict) -> list[str]:
    mids = fields.getlist("mid")
    if not 0 < len(mids) <= MIDS_MAX:
        raise _Refused(f"send 1 to {MIDS_MAX} fields `mid`, not {len(mids)}")
    return mids


def _target(request: HttpRequest) -> Target | None:
    user = requesting_user(request)
    return None if user is None else user_target(str(user.pk))


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _sign_in_first(request: HttpRequest, then: str) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"error": "not signed in"}, status=HTTPStatus.UNAUTHORIZED)
    return redirect_to_login(then)


def _as_json(item: InboxItem) -> dict[str, Any]:
    return {
        "mid": item.mid,
        "id": item.event_id,
        "title": item.title,
        "url": item.url or None,
        "at": item.at.isoformat(),
        "read": item.read_at is not None,
    }
