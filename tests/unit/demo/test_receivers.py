"""A comment notifies wherever it is saved."""

from django.contrib.auth.models import User
from django.core import serializers
from django.utils import timezone

from apps.demo.models import Article, Comment
from apps.realtime import Topic

from .conftest import Pushed


def test_a_new_comment_tells_the_author_and_the_open_pages(article: Article, ben: User, pushed: list[Pushed]) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    state = {"id": comment.pk, "author": "ben", "text": "Hello", "created": comment.created.isoformat()}
    notice = {
        "comment": comment.pk,
        "title": "Title",
        "author": "ben",
        "text": "Hello",
        "url": f"/demo/articles/{article.pk}/",
    }
    assert pushed == [
        (Topic(f"article-{article.pk}"), "comment/SAVED", state),
        (article.author_id, "comment/ADDED", notice),
    ]


def test_ones_own_comment_is_no_notification(article: Article, ann: User, pushed: list[Pushed]) -> None:
    Comment.objects.create(article=article, author=ann, text="Hello")
    assert [call.id for call in pushed] == ["comment/SAVED"]


def test_a_changed_comment_updates_the_pages_only(article: Article, ben: User, pushed: list[Pushed]) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    pushed.clear()
    comment.text = "Better"
    comment.save()
    assert [(call.id, call.data["text"]) for call in pushed] == [("comment/SAVED", "Better")]


def test_fixtures_notify_nobody(article: Article, ben: User, pushed: list[Pushed]) -> None:
    old = Comment(pk=5, article=article, author=ben, text="Old", created=timezone.now())
    fixture = serializers.serialize("json", [old])
    for row in serializers.deserialize("json", fixture):
        row.save()
    assert Comment.objects.filter(pk=5).exists()
    assert pushed == []


def test_a_deleted_comment_leaves_the_pages(article: Article, ben: User, pushed: list[Pushed]) -> None:
    comment = Comment.objects.create(article=article, author=ben, text="Hello")
    key = comment.pk
    pushed.clear()
    comment.delete()
    assert pushed == [(Topic(article.topic), "comment/REMOVED", {"id": key})]


def test_comments_that_go_with_their_article_are_silent(article: Article, ben: User, pushed: list[Pushed]) -> None:
    Comment.objects.create(article=article, author=ben, text="Hello")
    pushed.clear()
    article.delete()
    assert pushed == []
