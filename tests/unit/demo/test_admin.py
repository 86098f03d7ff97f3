"""Comments saved in the admin notify too."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.demo.models import Article, Comment
from apps.realtime.testing import Captured


def test_a_comment_of_the_admin(admin_client: Client, article: Article, ben: User, captured_events: Captured) -> None:
    form = {"article": article.pk, "author": ben.pk, "text": "By the admin"}
    assert admin_client.post("/admin/demo/comment/add/", form).status_code == 302
    assert [event.id for event in captured_events.events] == ["comment/SAVED", "comment/ADDED"]


@pytest.mark.parametrize("model", ["article", "comment"])
def test_lists_and_searches(
    admin_client: Client, article: Article, ben: User, model: str, captured_events: Captured
) -> None:
    Comment.objects.create(article=article, author=ben, text="Hello")
    assert admin_client.get(f"/admin/demo/{model}/?q=e").status_code == 200
