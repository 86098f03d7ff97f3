"""Articles and the comments on them (docs/demo.md)."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.urls import reverse


class Article(models.Model):
    """Something to comment on."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="articles")
    title = models.CharField(max_length=200)
    body = models.TextField()
    created = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ("-created", "-pk")

    # Declared for the type checker only; Django sets it.
    objects: ClassVar[models.Manager["Article"]]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """The article's page."""
        return reverse("demo:article", args=[self.pk])

    @property
    def topic(self) -> str:
        """The name of the topic that open pages of this article listen to (topics.py)."""
        return f"article-{self.pk}"


class Comment(models.Model):
    """What somebody says about an article; saving one notifies (receivers.py)."""

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="comments")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="comments")
    text = models.TextField(max_length=2000)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created", "pk")

    # Declared for the type checker only; Django sets it.
    objects: ClassVar[models.Manager["Comment"]]

    def __str__(self) -> str:
        return f"{self.author} on {self.article}"
