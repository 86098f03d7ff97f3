"""`{% load realtime %}{% realtime_cursor %}`: a page carries its cursor to the client (docs/browser-client.md)."""

from typing import Any, Final

from django import template
from django.utils.html import json_script
from django.utils.safestring import SafeString

from ..cursors import CursorNotTaken, taken_cursor

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
