"""A comment notifies wherever it is saved."""

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.core.exceptions import ValidationError
from django.utils import timezone

from apps.demo.models import Article, Comment, NewsItem
from apps.realtime import EVERYONE, Topic

from .conftest import Notified


def test_a_new_comment_tells_the_author_and_the_open_pages(
    article: Article, ben: User, notified: list[Notified]
) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    state = {"id": comment.pk, "author": "ben", "text": "Hello", "created": comment.created.isoformat()}
    notice = {"comment": comment.pk, "article": article.pk, "author": "ben", "text": "Hello"}
    assert notified == [
        (Topic(f"article-{article.pk}"), "comment/SAVED", state, None, None),
        (article.author, "comment/ADDED", notice, "ben on “Title”", f"/demo/articles/{article.pk}/"),
    ]


def test_ones_own_comment_is_no_notification(article: Article, ann: User, notified: list[Notified]) -> None:
    Comment.objects.create(article=article, author=ann, text="Hello")
    assert [call.id for call in notified] == ["comment/SAVED"]


def test_a_changed_comment_updates_the_pages_only(article: Article, ben: User, notified: list[Notified]) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    notified.clear()
    comment.text = "Better"
    comment.save()
    assert [(call.id, call.data["text"]) for call in notified] == [("comment/SAVED", "Better")]


def test_fixtures_notify_nobody(article: Article, ben: User, notified: list[Notified]) -> None:
    old = Comment(pk=5, article=article, author=ben, text="Old", created=timezone.now())
    fixture = serializers.serialize("json", [old, NewsItem(pk=5, title="Old", by="ben", created=timezone.now())])
    for row in serializers.deserialize("json", fixture):
        row.save()
    assert Comment.objects.filter(pk=5).exists()
    assert notified == []


def test_a_deleted_comment_leaves_the_pages(article: Article, ben: User, notified: list[Notified]) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    key = comment.pk
    notified.clear()
    comment.delete()
    assert notified == [(Topic(article.topic), "comment/REMOVED", {"id": key}, None, None)]


def test_comments_that_go_with_their_article_are_silent(article: Article, ben: User, notified: list[Notified]) -> None:
    Comment.objects.create(article=article, author=ben, text="Hello")
    notified.clear()
    article.delete()
    assert notified == []


@pytest.mark.django_db
def test_a_new_line_is_published_and_a_corrected_one_is_not(notified: list[Notified]) -> None:
    item = NewsItem.objects.create(title="Hello", by="ann", url="/demo/")
    state = {"id": item.pk, "title": "Hello", "by": "ann", "url": "/demo/", "created": item.created.isoformat()}
    assert notified == [(EVERYONE, "news/PUBLISHED", state, "Hello", "/demo/")]
    item.title = "Better"
    item.save()
    assert len(notified) == 1


@pytest.mark.django_db
def test_a_line_without_an_address(notified: list[Notified]) -> None:
    NewsItem.objects.create(title="Hello", by="ann")
    assert (notified[0].data["url"], notified[0].url) == ("", None)


@pytest.mark.parametrize("url", ["https://evil.test/", "//evil.test", "javascript:alert(1)", "demo/"])
def test_news_lead_to_this_site_only(url: str) -> None:
    with pytest.raises(ValidationError, match="A path of this site"):
        NewsItem(title="Hello", by="ann", url=url).full_clean()
    NewsItem(title="Hello", by="ann", url="/demo/").full_clean()
