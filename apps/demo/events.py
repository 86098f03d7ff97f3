"""What the example application tells browsers, each event in one place (docs/demo.md).

Events carry states, never differences: whoever gets one twice, or after a snapshot that holds it, is right again.
"""

from typing import Any

from django.urls import reverse
from django.utils.text import Truncator

from apps.realtime import EVERYONE, Topic, notify

from .models import Article, Comment, NewsItem, Task


def comment_added(comment: Comment) -> None:
    """Tell the author of the article, unless it is their own comment."""
    article = comment.article
    if article.author_id != comment.author_id:
        author = comment.author.get_username()
        notify(
            article.author,
            "comment/ADDED",
            {"comment": comment.pk, "article": article.pk, "author": author, "text": comment.text},
            # As much as a title holds.
            title=Truncator(f"{author} on “{article.title}”").chars(200),
            url=article.get_absolute_url(),
        )


def comment_saved(comment: Comment) -> None:
    """Show a new or changed comment on the open pages of its article."""
    notify(Topic(comment.article.topic), "comment/SAVED", comment_state(comment))


def comment_removed(article: Article, comment_id: int) -> None:
    """Take a comment off the open pages of its article."""
    notify(Topic(article.topic), "comment/REMOVED", {"id": comment_id})


def comment_state(comment: Comment) -> dict[str, Any]:
    """A comment as the page draws it."""
    return {
        "id": comment.pk,
        "author": comment.author.get_username(),
        "text": comment.text,
        "created": comment.created.isoformat(),
    }


def news_published(item: NewsItem) -> None:
    """Tell everybody who is signed in, and whoever signs in later."""
    notify(EVERYONE, "news/PUBLISHED", news_state(item), title=item.title, url=item.url or None)


def news_state(item: NewsItem) -> dict[str, Any]:
    """A line as the page draws it."""
    return {
        "id": item.pk,
        "title": item.title,
        "by": item.by,
        "url": item.url,
        "created": item.created.isoformat(),
    }


def task_interrupted(task: Task) -> None:
    """What `task_progress` would have said, had its process lived."""
    notify(task.user, "task/FAILED", task_state(task))
    task_ended(task)


def task_ended(task: Task) -> None:
    """For the inbox of whoever has long been doing something else."""
    title = f"{task.label}: {task.get_state_display().lower()}"
    notify(task.user, "task/ENDED", task_state(task), title=title, url=reverse("demo:home"))


def task_state(task: Task) -> dict[str, Any]:
    """A task as the page draws it, with the fields of the events of `task_progress`."""
    return {
        "task": task.pk,
        "label": task.label,
        "state": task.state,
        "done": task.done,
        "total": task.total,
        "error": task.error,
    }
