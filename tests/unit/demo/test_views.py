"""The pages of the example application, with and without their script."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects, assertTemplateUsed

from apps.demo import tasks
from apps.demo.models import Article, Comment
from apps.realtime import EVERYONE

from .conftest import Pushed

SCRIPT = {"Accept": "application/json"}
PAGES = ("/", "/demo/articles/", "/demo/article-2016/")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Durations of the tasks that were started."""
    durations: list[int] = []

    def start_task(user: User, seconds: int) -> bool:
        durations.append(seconds)
        return True

    monkeypatch.setattr(tasks, "start_task", start_task)
    return durations


@pytest.mark.parametrize("path", PAGES)
def test_pages(ann_client: Client, article: Article, path: str) -> None:
    assertContains(ann_client.get(path), 'id="authenticated"')
    assert ann_client.post(path).status_code == 405


@pytest.mark.parametrize("path", [*PAGES, "/demo/articles/1/"])
@pytest.mark.django_db
def test_pages_ask_for_a_sign_in(client: Client, path: str) -> None:
    assertRedirects(client.get(path), f"/accounts/login/?next={path}")


@pytest.mark.parametrize("path", ["/demo/task/", "/demo/news/", "/demo/articles/1/comments/"])
@pytest.mark.django_db
def test_actions_are_posts_of_signed_in_users(client: Client, path: str) -> None:
    assert client.get(path).status_code == 405
    assertRedirects(client.post(path), f"/accounts/login/?next={path}")


@pytest.mark.parametrize("path", ["/demo/task/", "/demo/news/"])
def test_actions_need_the_csrf_token(ann_client: Client, path: str) -> None:
    ann_client.handler.enforce_csrf_checks = True
    assert ann_client.post(path, {"seconds": 1, "title": "x"}, headers=SCRIPT).status_code == 403


def test_a_task_started_by_the_script(ann_client: Client, started: list[int]) -> None:
    answer = ann_client.post("/demo/task/", {"seconds": 7}, headers=SCRIPT)
    assert (answer.status_code, answer.json()) == (202, {"message": "The task has started."})
    assert started == [7]


def test_a_task_started_without_script(ann_client: Client, started: list[int]) -> None:
    answer = ann_client.post("/demo/task/", {"seconds": 7}, follow=True)
    assertRedirects(answer, "/")
    assertContains(answer, "The task has started.")
    assert started == [7]


@pytest.mark.parametrize("seconds", ["", "0", "61", "x", "1.5"])
def test_a_bad_duration(ann_client: Client, started: list[int], seconds: str) -> None:
    answer = ann_client.post("/demo/task/", {"seconds": seconds}, headers=SCRIPT)
    assert answer.status_code == 400
    assert "seconds" in answer.json()["errors"]
    page = ann_client.post("/demo/task/", {"seconds": seconds})
    assertTemplateUsed(page, "demo/home.html")
    assertContains(page, answer.json()["errors"]["seconds"][0])
    assert started == []


def test_too_many_tasks(ann_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "start_task", lambda user, seconds: False)
    answer = ann_client.post("/demo/task/", {"seconds": 1}, headers=SCRIPT)
    assert answer.status_code == 429
    assert "Too many tasks" in answer.json()["errors"]["__all__"][0]
    assertContains(ann_client.post("/demo/task/", {"seconds": 1}), "Too many tasks", status_code=429)


def test_news_of_staff(ann_client: Client, pushed: list[Pushed]) -> None:
    answer = ann_client.post("/demo/news/", {"title": "Hello"}, headers=SCRIPT)
    assert answer.status_code == 202
    assertRedirects(ann_client.post("/demo/news/", {"title": "Again"}), "/")
    assert pushed == [
        (EVERYONE, "news/PUBLISHED", {"title": title, "by": "ann", "url": ""}) for title in ("Hello", "Again")
    ]


def test_empty_news(ann_client: Client, pushed: list[Pushed]) -> None:
    assert ann_client.post("/demo/news/", {"title": " "}, headers=SCRIPT).status_code == 400
    assertContains(ann_client.post("/demo/news/", {"title": " "}), "This field is required.")
    assert pushed == []


def test_news_are_for_staff_only(ben_client: Client, pushed: list[Pushed]) -> None:
    assertNotContains(ben_client.get("/"), "Send to everybody")
    assertContains(ben_client.post("/demo/news/", {"title": "Hello"}), "Not allowed", status_code=403)
    assert pushed == []


def test_a_comment_by_the_script(ben_client: Client, article: Article, pushed: list[Pushed]) -> None:
    answer = ben_client.post(f"/demo/articles/{article.pk}/comments/", {"text": "Hi"}, headers=SCRIPT)
    comment = Comment.objects.get()
    assert (comment.article, comment.author.username, comment.text) == (article, "ben", "Hi")
    assert answer.status_code == 201
    # The answer and the event draw the same comment.
    assert answer.json()["comment"] == next(call.data for call in pushed if call.id == "comment/SAVED")


def test_a_comment_without_script(ben_client: Client, article: Article, pushed: list[Pushed]) -> None:
    answer = ben_client.post(f"/demo/articles/{article.pk}/comments/", {"text": "<b>Hi</b>"}, follow=True)
    assertRedirects(answer, article.get_absolute_url())
    assertContains(answer, "&lt;b&gt;Hi&lt;/b&gt;")


@pytest.mark.parametrize("text", ["", "  ", "x" * 2001])
def test_a_bad_comment(ben_client: Client, article: Article, pushed: list[Pushed], text: str) -> None:
    path = f"/demo/articles/{article.pk}/comments/"
    assert ben_client.post(path, {"text": text}, headers=SCRIPT).status_code == 400
    assertTemplateUsed(ben_client.post(path, {"text": text}), "demo/article.html")
    assert pushed == []


def test_no_such_article(ben_client: Client) -> None:
    assertContains(ben_client.get("/demo/articles/404/"), "Not found", status_code=404)
    assert ben_client.post("/demo/articles/404/comments/", {"text": "Hi"}).status_code == 404
