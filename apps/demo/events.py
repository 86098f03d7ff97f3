"""What the example application tells browsers, each event in one place (docs/demo.md).

Events carry states, never differences: whoever misses one or gets it twice is right again after the next.
"""

from typing import Any

from apps.realtime import EVERYONE, Topic, push

from .models import Article, Comment


def comment_added(comment: Comment) -> None:
    """Tell the author of the article, unless it is their own comment."""
    article = comment.article
    if article.author_id != comment.author_id:
        push(
            article.author_id,
            "comment/ADDED",
            {
                "comment": comment.pk,
                "title": article.title,
                "author": comment.author.get_username(),
                "text": comment.text,
                "url": article.get_absolute_url(),
            },
        )


def comment_saved(comment: Comment) -> None:
    """Show a new or changed comment on the open pages of its article."""
    push(Topic(comment.article.topic), "comment/SAVED", comment_state(comment))


def comment_removed(article: Article, comment_id: int) -> None:
    """Take a comment off the open pages of its article."""
    push(Topic(article.topic), "comment/REMOVED", {"id": comment_id})


def comment_state(comment: Comment) -> dict[str, Any]:
    """A comment as the page draws it."""
    return {
        "id": comment.pk,
        "author": comment.author.get_username(),
        "text": comment.text,
        "created": comment.created.isoformat(),
    }


def news_published(title: str, *, by: str, url: str = "") -> None:
    """Tell everybody who is signed in; `url` is a path of this site, or empty."""
    push(EVERYONE, "news/PUBLISHED", {"title": title, "by": by, "url": url})
