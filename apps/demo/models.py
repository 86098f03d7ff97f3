"""Articles, the comments on them, news for everybody, and long tasks (docs/demo.md)."""

from datetime import timedelta
from typing import ClassVar, Final

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

# Its thread gives a sign of life each second; a database that is busy may hold one up.
TASK_SILENT_MAX: Final = timedelta(seconds=10)


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
        return self.topic_of(self.pk)

    @staticmethod
    def topic_of(pk: int) -> str:
        """The same for an article that may not exist."""
        return f"article-{pk}"


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


class NewsItem(models.Model):
    """One line for everybody; adding one publishes it (receivers.py)."""

    title = models.CharField(
        max_length=200, validators=[RegexValidator(r"[^\x00-\x20\x7f-\x9f]", "Something to read.")]
    )
    by = models.CharField(max_length=150)
    # A path of this site, or empty.
    url = models.CharField(
        max_length=200,
        blank=True,
        validators=[RegexValidator(r"^/(?!/)[^\\\x00-\x1f\x7f-\x9f]*\Z", "A path of this site.")],
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)
        verbose_name = "news item"

    # Declared for the type checker only; Django sets it.
    objects: ClassVar[models.Manager["NewsItem"]]

    def __str__(self) -> str:
        return self.title


class Task(models.Model):
    """A long task of a user, so that a reload shows it, running or ended."""

    class State(models.TextChoices):
        """Only a running task changes."""

        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    # Its events carry it as `task`.
    id = models.CharField(primary_key=True, max_length=32)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tasks")
    label = models.CharField(max_length=200)
    state = models.CharField(max_length=7, choices=State.choices, default=State.RUNNING)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField()
    # For people; of failed ones.
    error = models.CharField(max_length=200, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-created", "-pk")

    # Declared for the type checker only; Django sets it.
    objects: ClassVar[models.Manager["Task"]]

    def __str__(self) -> str:
        return f"{self.label} of {self.user}"

    def change(self, **fields: object) -> bool:
        """Store the fields with a sign of life; False where the task is no longer running."""
        running = Task.objects.filter(pk=self.pk, state=self.State.RUNNING)
        if not running.update(**fields, seen_at=timezone.now()):
            return False
        for name, value in fields.items():
            setattr(self, name, value)
        return True

    @classmethod
    def silent(cls) -> models.QuerySet["Task"]:
        """Tasks that say they run although nobody works on them any more: their process is gone."""
        return cls.objects.filter(state=cls.State.RUNNING, seen_at__lt=timezone.now() - TASK_SILENT_MAX)
