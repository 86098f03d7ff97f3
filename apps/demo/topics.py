"""Who may listen to an article (docs/demo.md)."""

from django.contrib.auth.base_user import AbstractBaseUser

from apps.realtime import topic

from .models import Article


@topic("article-{id}")
def may_read_article(user: AbstractBaseUser, id: str) -> bool:
    """Every signed-in user may read every article that there is."""
    return id.isascii() and id.isdecimal() and Article.objects.filter(pk=int(id)).exists()
