"""People, an article, and who was notified."""

from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.demo.models import Article


class Notified(NamedTuple):
    """One call of `notify`."""

    to: Any
    id: str
    data: Any
    title: str | None = None
    url: str | None = None


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch) -> list[Notified]:
    """Collects the events instead of storing them."""
    calls: list[Notified] = []
    monkeypatch.setattr("apps.demo.events.notify", lambda *args, **kwargs: calls.append(Notified(*args, **kwargs)))
    return calls


@pytest.fixture
def ann(db: None) -> User:
    """Staff."""
    return User.objects.create_user("ann", is_staff=True)


@pytest.fixture
def ben(db: None) -> User:
    """No staff."""
    return User.objects.create_user("ben")


@pytest.fixture
def article(ann: User) -> Article:
    """By Ann."""
    return Article.objects.create(author=ann, title="Title", body="Body")


@pytest.fixture
def ann_client(client: Client, ann: User) -> Client:
    """Ann's browser."""
    client.force_login(ann)
    return client


@pytest.fixture
def ben_client(ben: User) -> Client:
    """Ben's browser."""
    client = Client()
    client.force_login(ben)
    return client
