"""A mail with what nobody has seen: the receiver that comes with the library (docs/unseen.md)."""

from collections.abc import Sequence
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse

from ..conf import realtime_settings
from .signal import notification_unseen


def connect_digest() -> None:
    """Have the mails sent from now on."""
    notification_unseen.connect(send_digest, dispatch_uid="message_flow.digest")


def send_digest(user: Any, items: Sequence[Any], count: int, **kwargs: Any) -> None:
    """Send one mail to the user's address; nothing where there is none.

    Raises:
        OSError: the mail server does not take it (smtplib's errors are some of these).
    """
    address = getattr(user, user.get_email_field_name(), None)
    if not address:
        return
    site = (realtime_settings().site_url or "").rstrip("/")
    context = {
        "user": user,
        "count": count,
        "more": count - len(items),
        "items": [{"title": item.title, "at": item.at, "url": _absolute(site, item.url)} for item in items],
        "inbox_url": site + reverse("realtime:inbox"),
    }
    mail = EmailMultiAlternatives(
        # A subject is one line.
        subject=" ".join(render_to_string("realtime/unseen_subject.txt", context).split()),
        body=render_to_string("realtime/unseen_body.txt", context),
        to=[address],
        # RFC 3834: nobody's absence note answers it.
        headers={"Auto-Submitted": "auto-generated"},
    )
    mail.attach_alternative(render_to_string("realtime/unseen_body.html", context), "text/html")
    mail.send()


def _absolute(site: str, url: str) -> str:
    return site + url if url.startswith("/") else url
