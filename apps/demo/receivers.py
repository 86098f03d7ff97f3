"""Signals become events: a comment notifies wherever it is saved, be it page, admin or shell (docs/demo.md).

Django sends them after the row of a plain `save` is committed. A view that must not lose the event to a crash just then
saves inside `transaction.atomic()`; the admin does.
"""

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from . import events
from .models import Comment, NewsItem


@receiver(post_save, sender=Comment, dispatch_uid="demo.comment_saved")
def on_comment_saved(instance: Comment, created: bool, raw: bool, **kwargs: Any) -> None:
    """Rows of a fixture (`raw`) are no news, and what they refer to may not be there yet."""
    if raw:
        return
    events.comment_saved(instance)
    if created:
        events.comment_added(instance)


@receiver(post_delete, sender=Comment, dispatch_uid="demo.comment_deleted")
def on_comment_deleted(instance: Comment, origin: Any, **kwargs: Any) -> None:
    """A comment that goes with its article or author needs no event: the page it stood on is gone or is reloaded."""
    if isinstance(origin, Comment):
        events.comment_removed(instance.article, instance.pk)


@receiver(post_save, sender=NewsItem, dispatch_uid="demo.news_saved")
def on_news_saved(instance: NewsItem, created: bool, raw: bool, **kwargs: Any) -> None:
    """A corrected line is shown by the next reload; only a new one is news."""
    if created and not raw:
        events.news_published(instance)
