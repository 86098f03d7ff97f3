"""What a page carries to the client: its cursor (docs/browser-client.md) and the bell (docs/inbox.md).

{% load realtime %}{% realtime_cursor %}{% realtime_bell %}
"""

from typing import Any, Final

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.middleware.csrf import get_token
from django.urls import reverse
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString, mark_safe

from ..conf import realtime_settings
from ..core.events import UNREAD_MAX
from ..core.names import user_stream
from ..cursors import CursorNotTaken, taken_cursor
from ..inbox import listing
from ..signin import requesting_user

# static/js/cursor.js looks for it.
ELEMENT_ID: Final = "realtime-cursor"

register = template.Library()


@register.simple_tag(takes_context=True)
def realtime_cursor(context: dict[str, Any]) -> SafeString:
    """A data block, which no Content-Security-Policy forbids.

    Raises:
        CursorNotTaken: the view has read its state without taking a cursor, or the template does not know the request.
    """
    request = context.get("request")
    if request is None:
        raise CursorNotTaken(
            "{% realtime_cursor %} needs the context processor django.template.context_processors.request"
        )
    return json_script(taken_cursor(request), ELEMENT_ID)


@register.simple_tag(takes_context=True)
def realtime_bell(context: dict[str, Any]) -> SafeString:
    """How many notifications of the signed-in user are unread, as a link to the inbox; static/js/bell.js makes it live.

    One query. The count is read now, after the view has taken the page's cursor: whatever changes it from that cursor
    on comes as an event. In a page without a cursor the script asks once more when it is connected.

    Returns:
        Nothing where nobody is signed in.

    Raises:
        ImproperlyConfigured: the template does not know the request.
        django.db.Error: the database gave no answer.
    """
    request = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "{% realtime_bell %} needs the context processor django.template.context_processors.request"
        )
    user = requesting_user(request)
    if user is None:
        return mark_safe("")
    unread = listing.unread(user_stream(str(user.pk)))
    return format_html(
        '<realtime-bell unread="{}" inbox="{}" csrf="{}" socket="{}" token="{}"><a href="{}">{}</a></realtime-bell>',
        unread,
        reverse("realtime:inbox"),
        get_token(request),
        realtime_settings().path,
        reverse("realtime:socket_auth_token"),
        reverse("realtime:inbox"),
        _link_text(unread),
    )


def _link_text(unread: int) -> str:
    if unread == 0:
        return "Notifications"
    return f"Notifications ({unread if unread < UNREAD_MAX else f'{UNREAD_MAX - 1}+'})"
