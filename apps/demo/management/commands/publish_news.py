"""The article's hourly scan: run by a timer, it tells everybody what is new (docs/demo.md)."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from apps.demo.models import Article, NewsItem


class Command(BaseCommand):
    """Publishes from a process that serves no page."""

    help = "Publish news to everybody: the articles of the last hour, or one line given by --title."

    def add_arguments(self, parser: CommandParser) -> None:
        """`--title` or nothing."""
        parser.add_argument("--title", help="publish this line instead of the articles of the last hour")

    def handle(self, *args: Any, title: str | None, **options: Any) -> None:
        """Print how many items went out."""
        if title:
            news = [NewsItem(title=title, by="Message Flow")]
        else:
            since = timezone.now() - timedelta(hours=1)
            fresh = Article.objects.filter(created__gt=since).select_related("author").order_by("created", "pk")
            news = [
                NewsItem(title=article.title, by=article.author.get_username(), url=article.get_absolute_url())
                for article in fresh
            ]
        with transaction.atomic():
            for item in news:
                item.save()
        self.stdout.write(f"{len(news)} item{'' if len(news) == 1 else 's'} published.")
