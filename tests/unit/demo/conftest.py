"""People, an article, and what was pushed."""

from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.demo.models import Article


class Pushed(NamedTuple):
    """One call of `push`."""

    to: Any
    id: str
    data: Any


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[Pushed]:
    """Collects the events instead of publishing them."""
    calls: list[Pushed] = []
    monkeypatch.setattr("apps.demo.events.push", lambda to, event_id, data: calls.append(Pushed(to, event_id, data)))
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
