"""The pages of the example application (docs/demo.md).

A form works twice: with the page's script, which sends it by fetch and gets JSON, and without, by a redirect. The
result itself always comes over the socket.

Whatever shows state takes its cursor first: pages in their helper's first line, snapshots by the decorator.
"""

from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, QuerySet
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.requests import SignedInRequest
from apps.realtime import cursor, json_with_cursor, with_cursor

from . import events, tasks
from .forms import CommentForm, NewsForm, TaskForm
from .models import Article, NewsItem, Task

# As many as static/demo/tasks.js and news.js keep.
SHOWN_MAX: Final = 10


@require_GET
@login_required
def home(request: SignedInRequest) -> HttpResponse:
    """Everything at a glance."""
    return _home(request)


@require_POST
@login_required
def start_task(request: SignedInRequest) -> HttpResponse:
    """The article's example: the answer comes at once, the progress over the socket."""
    form = TaskForm(request.POST)
    if not form.is_valid():
        return _refused(request, form) or _home(request, task_form=form)
    if not tasks.start_task(request.user, form.cleaned_data["seconds"]):
        form.add_error(None, "Too many tasks are running. Try again when one is done.")
        return _refused(request, form, status=429) or _home(request, task_form=form, status=429)
    return _accepted(request, "The task has started.")


@require_POST
@login_required
def publish_news(request: SignedInRequest) -> HttpResponse:
    """Send one line to everybody who is signed in; staff only."""
    if not request.user.is_staff:
        raise PermissionDenied
    form = NewsForm(request.POST)
    if not form.is_valid():
        return _refused(request, form) or _home(request, news_form=form)
    with transaction.atomic():
        NewsItem.objects.create(title=form.cleaned_data["title"], by=request.user.get_username())
    return _accepted(request, "The message is on its way.")


@require_GET
@login_required
@with_cursor(topics=["news"])
def state(request: SignedInRequest) -> HttpResponse:
    """The home page's state, for a page that has missed something."""
    return json_with_cursor(
        request,
        {
            "tasks": [events.task_state(task) for task in _tasks(request.user)],
            "news": [events.news_state(item) for item in NewsItem.objects.all()[:SHOWN_MAX]],
        },
    )


@require_GET
@login_required
@with_cursor
def articles(request: SignedInRequest) -> HttpResponse:
    """All articles, the newest first."""
    return render(request, "demo/articles.html", {"articles": _articles()})


@require_GET
@login_required
def article(request: SignedInRequest, pk: int) -> HttpResponse:
    """One article with its comments."""
    return _article(request, pk, CommentForm())


@require_GET
@login_required
@with_cursor(topics=lambda request, pk: [Article.topic_of(pk)])
def article_state(request: SignedInRequest, pk: int) -> HttpResponse:
    """An article's comments, for a page that has missed something."""
    shown = get_object_or_404(Article, pk=pk)
    comments = shown.comments.select_related("author")
    return json_with_cursor(request, {"comments": [events.comment_state(comment) for comment in comments]})


@require_POST
@login_required
def add_comment(request: SignedInRequest, pk: int) -> HttpResponse:
    """Save a comment; who must know of it learns by the receiver, as for a comment saved anywhere else."""
    commented = get_object_or_404(Article, pk=pk)
    form = CommentForm(request.POST)
    if not form.is_valid():
        return _refused(request, form) or _article(request, pk, form)
    form.instance.article = commented
    form.instance.author = request.user
    with transaction.atomic():
        comment = form.save()
    if _by_script(request):
        return JsonResponse({"comment": events.comment_state(comment)}, status=201)
    return redirect(commented)


@require_GET
@login_required
def article_2016(request: SignedInRequest) -> HttpResponse:
    """A page as the 2016 article has it, on the classic client."""
    return render(request, "demo/article_2016.html")


def _home(
    request: SignedInRequest,
    *,
    task_form: TaskForm | None = None,
    news_form: NewsForm | None = None,
    status: int = 200,
) -> HttpResponse:
    cursor(request, ["news"])
    context = {
        "tasks": _tasks(request.user),
        "news": NewsItem.objects.all()[:SHOWN_MAX],
        "task_form": task_form or TaskForm(),
        "news_form": news_form or NewsForm(),
        "articles": _articles()[:5],
    }
    return render(request, "demo/home.html", context, status=status)


def _article(request: HttpRequest, pk: int, form: CommentForm) -> HttpResponse:
    cursor(request, [Article.topic_of(pk)])
    shown = get_object_or_404(Article.objects.select_related("author"), pk=pk)
    context = {"article": shown, "comments": shown.comments.select_related("author"), "form": form}
    return render(request, "demo/article.html", context)


def _articles() -> QuerySet[Article]:
    return Article.objects.select_related("author").annotate(comment_count=Count("comments"))


def _tasks(user: User) -> QuerySet[Task]:
    tasks.end_silent_tasks()
    return user.tasks.all()[:SHOWN_MAX]


def _by_script(request: HttpRequest) -> bool:
    return request.accepts("application/json") and not request.accepts("text/html")


def _accepted(request: HttpRequest, message: str) -> HttpResponse:
    if _by_script(request):
        return JsonResponse({"message": message}, status=202)
    messages.success(request, message)
    return redirect("demo:home")


def _refused(request: HttpRequest, form: BaseForm, status: int = 400) -> HttpResponse | None:
    """The errors as JSON, or None when the page itself must show them."""
    return JsonResponse({"errors": form.errors}, status=status) if _by_script(request) else None
