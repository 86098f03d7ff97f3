"""Who may listen to what (docs/demo.md)."""

from django.contrib.auth.base_user import AbstractBaseUser

from apps.realtime import topic

from .models import Article


@topic("news")
def may_read_news(user: AbstractBaseUser) -> bool:
    """Every signed-in user; the home page listens."""
    return True


@topic("article-{id}")
def may_read_article(user: AbstractBaseUser, id: str) -> bool:
    """Every signed-in user may read every article that there is."""
    return id.isascii() and id.isdecimal() and Article.objects.filter(pk=int(id)).exists()
