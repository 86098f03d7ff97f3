"""The pages of the example application, with and without their script."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects, assertTemplateUsed

from apps.demo import tasks
from apps.demo.models import Article, Comment, NewsItem, Task
from apps.realtime import EVERYONE, Topic
from apps.realtime.testing import Captured

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


@pytest.mark.parametrize("path", [*PAGES, "/demo/articles/1/", "/demo/state/", "/demo/articles/1/state/"])
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


def test_news_of_staff(ann_client: Client, captured_events: Captured) -> None:
    answer = ann_client.post("/demo/news/", {"title": "Hello"}, headers=SCRIPT)
    assert answer.status_code == 202
    assertRedirects(ann_client.post("/demo/news/", {"title": "Again"}), "/")
    assert [(event.id, event.title, event.data["by"]) for event in captured_events.of(EVERYONE)] == [
        ("news/PUBLISHED", title, "ann") for title in ("Hello", "Again")
    ]


def test_empty_news(ann_client: Client, captured_events: Captured) -> None:
    assert ann_client.post("/demo/news/", {"title": " "}, headers=SCRIPT).status_code == 400
    assertContains(ann_client.post("/demo/news/", {"title": " "}), "This field is required.")
    assertContains(ann_client.post("/demo/news/", {"title": "\x01\x9f"}), "Something to read.")
    assert captured_events.events == []


def test_news_are_for_staff_only(ben_client: Client, captured_events: Captured) -> None:
    assertNotContains(ben_client.get("/"), "Send to everybody")
    assertContains(ben_client.post("/demo/news/", {"title": "Hello"}), "Not allowed", status_code=403)
    assert captured_events.events == []


def test_a_comment_by_the_script(ben_client: Client, article: Article, captured_events: Captured) -> None:
    answer = ben_client.post(f"/demo/articles/{article.pk}/comments/", {"text": "Hi"}, headers=SCRIPT)
    comment = Comment.objects.get()
    assert (comment.article, comment.author.username, comment.text) == (article, "ben", "Hi")
    assert answer.status_code == 201
    # The answer and the event draw the same comment.
    captured_events.assert_notified(Topic(article.topic), "comment/SAVED", data=answer.json()["comment"])


def test_a_comment_without_script(ben_client: Client, article: Article, captured_events: Captured) -> None:
    answer = ben_client.post(f"/demo/articles/{article.pk}/comments/", {"text": "<b>Hi</b>"}, follow=True)
    assertRedirects(answer, article.get_absolute_url())
    assertContains(answer, "&lt;b&gt;Hi&lt;/b&gt;")


@pytest.mark.parametrize("text", ["", "  ", "x" * 2001])
def test_a_bad_comment(ben_client: Client, article: Article, captured_events: Captured, text: str) -> None:
    path = f"/demo/articles/{article.pk}/comments/"
    assert ben_client.post(path, {"text": text}, headers=SCRIPT).status_code == 400
    assertTemplateUsed(ben_client.post(path, {"text": text}), "demo/article.html")
    assert captured_events.events == []


def test_no_such_article(ben_client: Client) -> None:
    assertContains(ben_client.get("/demo/articles/404/"), "Not found", status_code=404)
    assert ben_client.post("/demo/articles/404/comments/", {"text": "Hi"}).status_code == 404


# --- cursors and snapshots ---


def test_pages_carry_the_cursor_of_what_they_show(ann: User, ann_client: Client, article: Article) -> None:
    own = {f"user.{ann.pk}", "all"}
    for path, streams in (
        ("/", own | {"topic.news"}),
        ("/demo/articles/", own),
        (article.get_absolute_url(), own | {f"topic.article-{article.pk}"}),
    ):
        answer = ann_client.get(path)
        block = re.search(
            r'<script id="realtime-cursor" type="application/json">(.*?)</script>', answer.content.decode()
        )
        assert block is not None
        assert json.loads(block[1]).keys() == streams, path


def test_forms_that_are_refused_show_a_whole_page(ann_client: Client, article: Article) -> None:
    for path in ("/demo/task/", "/demo/news/", f"/demo/articles/{article.pk}/comments/"):
        assertContains(ann_client.post(path, {}), 'id="realtime-cursor"')


def test_the_home_page_and_its_snapshot_show_the_same(ann: User, ben: User, ann_client: Client) -> None:
    for number in range(12):
        Task.objects.create(id=f"t{number}", user=ann, label=f"Task {number}", total=10, done=number)
        NewsItem.objects.create(title=f"News {number}", by="ann")
    Task.objects.create(id="ben's", user=ben, label="Ben's", total=10)
    state = ann_client.get("/demo/state/").json()
    assert [task["label"] for task in state["tasks"]] == [f"Task {number}" for number in range(11, 1, -1)]
    assert [item["title"] for item in state["news"]] == [f"News {number}" for number in range(11, 1, -1)]
    assert state["tasks"][0] == {
        "task": "t11",
        "label": "Task 11",
        "state": "running",
        "done": 11,
        "total": 10,
        "error": "",
    }
    assert state["cursor"].keys() == {f"user.{ann.pk}", "all", "topic.news"}
    page = ann_client.get("/").content.decode()
    assert re.findall(r'data-task="(\w+)"', page) == [task["task"] for task in state["tasks"]]
    assert re.findall(r'data-news="(\d+)"', page) == [str(item["id"]) for item in state["news"]]


def test_an_articles_snapshot(ben: User, ben_client: Client, article: Article, captured_events: Captured) -> None:
    Comment.objects.create(article=article, author=ben, text="Hi")
    state = ben_client.get(f"/demo/articles/{article.pk}/state/").json()
    assert state["comments"] == [event.data for event in captured_events.of(Topic(article.topic))]
    Comment.objects.create(article=article, author=ben, text="Later")
    with captured_events.browser(ben, topics=[article.topic], since=state["cursor"]) as tab:
        assert [frame["data"]["text"] for frame in tab.frames] == ["Later"]
    assert f"topic.article-{article.pk}" in state["cursor"]
    assert ben_client.get("/demo/articles/404/state/").status_code == 404


def test_a_task_of_a_process_that_is_gone_is_ended_by_whoever_looks(
    ann: User, ben_client: Client, captured_events: Captured
) -> None:
    long_ago = timezone.now() - timedelta(seconds=11)
    Task.objects.create(id="dead", user=ann, label="Dead", total=10, done=3, seen_at=long_ago)
    Task.objects.create(id="alive", user=ann, label="Alive", total=10)
    Task.objects.create(id="done", user=ann, label="Done", total=10, state=Task.State.DONE, seen_at=long_ago)
    for _ in range(2):
        ben_client.get("/demo/state/")
    states = {task.pk: (task.state, task.error) for task in Task.objects.all()}
    assert states == {"dead": ("failed", "Interrupted"), "alive": ("running", ""), "done": ("done", "")}
    data = {"task": "dead", "label": "Dead", "state": "failed", "done": 3, "total": 10, "error": "Interrupted"}
    captured_events.assert_notified(ann, "task/FAILED", data=data, times=1)
    captured_events.assert_notified(ann, "task/ENDED", data=data, times=1)
