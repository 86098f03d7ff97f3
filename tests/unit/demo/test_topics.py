"""Who may listen to what."""

import pytest
from django.contrib.auth.models import User

from apps.demo.models import Article
from apps.demo.topics import may_read_article, may_read_news
from apps.realtime.topics import topic_registry


def test_every_user_may_read_the_news(ben: User) -> None:
    assert may_read_news(ben)


def test_an_article_that_there_is(article: Article, ben: User) -> None:
    assert may_read_article(ben, id=str(article.pk))


@pytest.mark.parametrize("key", ["0", "99999", "x", "1 OR 1=1", "-1", "\u0661", "9" * 60, "1.0"])
def test_one_that_there_is_not(ben: User, key: str) -> None:
    assert not may_read_article(ben, id=key)


def test_the_models_topic_is_the_declared_one(article: Article) -> None:
    match = topic_registry().find(article.topic)
    assert match is not None
    assert match.params == {"id": str(article.pk)}
