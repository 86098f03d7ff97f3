"""`manage.py publish_news`."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.demo.models import Article, NewsItem
from apps.realtime import EVERYONE
from apps.realtime.testing import Captured


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("publish_news", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.django_db
def test_one_line(captured_events: Captured) -> None:
    assert run("--title", "Hello") == "1 item published.\n"
    assert [(event.id, event.title, event.data["by"]) for event in captured_events.of(EVERYONE)] == [
        ("news/PUBLISHED", "Hello", "Message Flow")
    ]
    assert [item.title for item in NewsItem.objects.all()] == ["Hello"]


def test_each_article_is_published_once_however_late_the_timer_is(article: Article, captured_events: Captured) -> None:
    def write(title: str, hours_ago: float) -> None:
        written = Article.objects.create(author=article.author, title=title, body="")
        Article.objects.filter(pk=written.pk).update(created=timezone.now() - timedelta(hours=hours_ago))

    write("Too old", 25)
    write("After an outage", 23)
    assert run() == "2 items published.\n"
    assert [(event.data["title"], event.data["by"]) for event in captured_events.events] == [
        ("After an outage", "ann"),
        ("Title", "ann"),
    ]
    assert captured_events.events[1].data["url"] == article.get_absolute_url()
    # Seen an hour ago, and committed only now.
    write("Newest", 1.01)
    assert (run(), run()) == ("1 item published.\n", "0 items published.\n")
    assert [event.title for event in captured_events.events[2:]] == ["Newest"]


@pytest.mark.django_db
def test_nothing_new(captured_events: Captured) -> None:
    assert run() == "0 items published.\n"
    assert captured_events.events == []
