"""People, an article, and their browsers."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.demo.models import Article


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
