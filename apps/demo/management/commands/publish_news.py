"""The article's hourly scan: run by a timer, it tells everybody what is new (docs/demo.md)."""

from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from apps.demo.models import Article, NewsItem

# A timer is late by some seconds or, after an outage, by hours. What is older than this is no news.
SCANNED: Final = timedelta(days=1)


class Command(BaseCommand):
    """Publishes from a process that serves no page."""

    help = (
        "Publish news to everybody: the articles of the last day that were not published yet, or the line of --title."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """`--title` or nothing."""
        parser.add_argument("--title", help="publish this line instead of articles")

    def handle(self, *args: Any, title: str | None, **options: Any) -> None:
        """Print how many items went out."""
        with transaction.atomic():
            news = [NewsItem(title=title, by="Message Flow")] if title else self._scan()
            for item in news:
                item.save()
        self.stdout.write(f"{len(news)} item{'' if len(news) == 1 else 's'} published.")

    @staticmethod
    def _scan() -> list[NewsItem]:
        recent = Article.objects.filter(created__gt=timezone.now() - SCANNED).select_related("author")
        # Of two machines that scan in the same second one waits here, and then finds what the other has published.
        articles = list(recent.select_for_update(of=("self",)).order_by("created", "pk"))
        urls = {article: article.get_absolute_url() for article in articles}
        known = set(NewsItem.objects.filter(url__in=urls.values()).values_list("url", flat=True))
        return [
            NewsItem(title=article.title, by=article.author.get_username(), url=url)
            for article, url in urls.items()
            if url not in known
        ]
