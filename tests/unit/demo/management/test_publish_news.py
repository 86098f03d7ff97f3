"""`manage.py publish_news`."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.demo.models import Article, NewsItem
from apps.realtime import EVERYONE

from ..conftest import Notified


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("publish_news", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.django_db
def test_one_line(notified: list[Notified]) -> None:
    assert run("--title", "Hello") == "1 item published.\n"
    assert [(call.to, call.id, call.title, call.data["by"]) for call in notified] == [
        (EVERYONE, "news/PUBLISHED", "Hello", "Message Flow")
    ]
    assert [item.title for item in NewsItem.objects.all()] == ["Hello"]


def test_the_articles_of_the_last_hour(article: Article, notified: list[Notified]) -> None:
    old = Article.objects.create(author=article.author, title="Old", body="")
    Article.objects.filter(pk=old.pk).update(created=timezone.now() - timedelta(minutes=61))
    Article.objects.create(author=article.author, title="Newest", body="")
    assert run() == "2 items published.\n"
    assert [(call.data["title"], call.data["by"]) for call in notified] == [("Title", "ann"), ("Newest", "ann")]
    assert notified[0].data["url"] == article.get_absolute_url()


@pytest.mark.django_db
def test_nothing_new(notified: list[Notified]) -> None:
    assert run() == "0 items published.\n"
    assert notified == []
