"""A comment notifies wherever it is saved."""

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.core.exceptions import ValidationError
from django.utils import timezone

from apps.demo.models import Article, Comment, NewsItem
from apps.realtime import EVERYONE, Topic
from apps.realtime.testing import Captured


def test_a_new_comment_tells_the_author_and_the_open_pages(
    article: Article, ben: User, captured_events: Captured
) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    state = {"id": comment.pk, "author": "ben", "text": "Hello", "created": comment.created.isoformat()}
    notice = {"comment": comment.pk, "article": article.pk, "author": "ben", "text": "Hello"}
    captured_events.assert_notified(Topic(f"article-{article.pk}"), "comment/SAVED", data=state)
    captured_events.assert_notified(article.author, "comment/ADDED", data=notice)
    assert [(event.title, event.url) for event in captured_events.events] == [
        (None, None),
        ("ben on “Title”", f"/demo/articles/{article.pk}/"),
    ]


def test_ones_own_comment_is_no_notification(article: Article, ann: User, captured_events: Captured) -> None:
    Comment.objects.create(article=article, author=ann, text="Hello")
    assert [event.id for event in captured_events.events] == ["comment/SAVED"]


def test_a_changed_comment_updates_the_pages_only(article: Article, ben: User, captured_events: Captured) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    captured_events.clear()
    comment.text = "Better"
    comment.save()
    assert [(event.id, event.data["text"]) for event in captured_events.events] == [("comment/SAVED", "Better")]


def test_fixtures_notify_nobody(article: Article, ben: User, captured_events: Captured) -> None:
    old = Comment(pk=5, article=article, author=ben, text="Old", created=timezone.now())
    fixture = serializers.serialize("json", [old, NewsItem(pk=5, title="Old", by="ben", created=timezone.now())])
    for row in serializers.deserialize("json", fixture):
        row.save()
    assert Comment.objects.filter(pk=5).exists()
    assert captured_events.events == []


def test_a_deleted_comment_leaves_the_pages(article: Article, ben: User, captured_events: Captured) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    key = comment.pk
    captured_events.clear()
    comment.delete()
    captured_events.assert_notified(Topic(article.topic), "comment/REMOVED", data={"id": key})
    assert len(captured_events.events) == 1


def test_comments_that_go_with_their_article_are_silent(article: Article, ben: User, captured_events: Captured) -> None:
    Comment.objects.create(article=article, author=ben, text="Hello")
    captured_events.clear()
    article.delete()
    assert captured_events.events == []


@pytest.mark.django_db
def test_a_new_line_is_published_and_a_corrected_one_is_not(captured_events: Captured) -> None:
    item = NewsItem.objects.create(title="Hello", by="ann", url="/demo/")
    state = {"id": item.pk, "title": "Hello", "by": "ann", "url": "/demo/", "created": item.created.isoformat()}
    captured_events.assert_notified(EVERYONE, "news/PUBLISHED", data=state)
    item.title = "Better"
    item.save()
    assert [(event.title, event.url) for event in captured_events.events] == [("Hello", "/demo/")]


@pytest.mark.django_db
def test_a_line_without_an_address(captured_events: Captured) -> None:
    NewsItem.objects.create(title="Hello", by="ann")
    assert [(event.data["url"], event.url) for event in captured_events.events] == [("", None)]


@pytest.mark.parametrize(
    "url", ["https://evil.test/", "//evil.test", "/\\evil.test", "/\t/evil.test", "javascript:alert(1)", "demo/"]
)
def test_news_lead_to_this_site_only(url: str) -> None:
    with pytest.raises(ValidationError, match="A path of this site"):
        NewsItem(title="Hello", by="ann", url=url).full_clean()
    NewsItem(title="Hello", by="ann", url="/demo/").full_clean()
