"""`manage.py publish_news`."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.demo.models import Article
from apps.realtime import EVERYONE

from ..conftest import Pushed


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("publish_news", *arguments, stdout=output)
    return output.getvalue()


def test_one_line(pushed: list[Pushed]) -> None:
    assert run("--title", "Hello") == "1 item published.\n"
    assert pushed == [(EVERYONE, "news/PUBLISHED", {"title": "Hello", "by": "Message Flow", "url": ""})]


def test_the_articles_of_the_last_hour(article: Article, pushed: list[Pushed]) -> None:
    old = Article.objects.create(author=article.author, title="Old", body="")
    Article.objects.filter(pk=old.pk).update(created=timezone.now() - timedelta(minutes=61))
    Article.objects.create(author=article.author, title="Newest", body="")
    assert run() == "2 items published.\n"
    assert [(call.data["title"], call.data["by"]) for call in pushed] == [("Title", "ann"), ("Newest", "ann")]
    assert pushed[0].data["url"] == article.get_absolute_url()


@pytest.mark.django_db
def test_nothing_new(pushed: list[Pushed]) -> None:
    assert run() == "0 items published.\n"
    assert pushed == []
