"""The mail with what nobody has seen (docs/unseen.md)."""

from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.utils.timezone import now
from pytest_django import Settings

from apps.realtime import notification_unseen
from apps.realtime.models import InboxItem
from apps.realtime.unseen.digest import connect_digest, send_digest
from tests.unit.conftest import MakeUser

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script> & \"co\""


@pytest.fixture(autouse=True)
def _site(settings: Settings) -> None:
    settings.REALTIME_SITE_URL = "https://example.com"


def item(title: str, url: str = "") -> InboxItem:
    return InboxItem(title=title, url=url, event_id="x", mid="m", created_at=now())


def sent() -> tuple[EmailMultiAlternatives, str]:
    """The one mail, and its HTML."""
    [message] = mail.outbox
    assert isinstance(message, EmailMultiAlternatives)
    [(html, kind)] = message.alternatives
    assert kind == "text/html"
    return message, str(html)


def test_one_mail_tells_all_of_it_with_links_that_work_from_a_mail(make_user: MakeUser) -> None:
    user = make_user("alice", email="alice@example.net")
    items = [item("Paid", "/invoices/5/?a=1&b=2"), item("Elsewhere", "https://shop.example.com/x"), item("No link")]
    send_digest(user=user, items=items, count=120, signal=notification_unseen, sender=InboxItem)
    message, html = sent()
    assert (message.subject, message.to) == ("120 unread notifications", ["alice@example.net"])
    assert message.extra_headers == {"Auto-Submitted": "auto-generated"}
    assert message.body == (
        "Hello alice,\n\nyou have 120 notifications that you have not seen yet:\n\n"
        "- Paid\n  https://example.com/invoices/5/?a=1&b=2\n"
        "- Elsewhere\n  https://shop.example.com/x\n"
        "- No link\n- and 117 more\n\n"
        "All notifications: https://example.com/inbox\n"
    )
    assert '<a href="https://example.com/invoices/5/?a=1&amp;b=2">Paid</a>' in html
    assert '<a href="https://shop.example.com/x">Elsewhere</a>' in html
    assert "<li>No link</li>" in html
    assert "<li>and 117 more</li>" in html
    assert '<a href="https://example.com/inbox">All notifications</a>' in html


def test_what_people_have_typed_is_text(make_user: MakeUser) -> None:
    user = make_user("alice", email="alice@example.net")
    send_digest(user=user, items=[item(HOSTILE, '/x"><script>')], count=1)
    message, html = sent()
    assert message.subject == "An unread notification"
    assert f"- {HOSTILE}\n" in message.body
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;co&quot;" in html
    assert 'href="https://example.com/x&quot;&gt;&lt;script&gt;"' in html


def test_who_has_no_address_gets_none(make_user: MakeUser) -> None:
    send_digest(user=make_user("alice"), items=[item("x")], count=1)
    assert mail.outbox == []


def test_it_is_sent_where_it_was_connected(make_user: MakeUser) -> None:
    arguments: dict[str, Any] = {"user": make_user(email="a@example.net"), "items": [item("x")], "count": 1}
    notification_unseen.send(InboxItem, **arguments)
    assert mail.outbox == []
    connect_digest()
    connect_digest()
    try:
        notification_unseen.send(InboxItem, **arguments)
    finally:
        assert notification_unseen.disconnect(dispatch_uid="message_flow.digest")
    assert len(mail.outbox) == 1
