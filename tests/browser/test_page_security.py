"""Hostile data is shown as text, and the pages need no exception from the strict policy (docs/demo.md)."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from .site import Site

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "a\u2028b\u2029c",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "\"'`${alert(1)}\\u0000",
)

PATHS = (
    "/",
    "/demo/articles/",
    "/demo/articles/1/",
    "/demo/article-2016/",
    "/accounts/profile/",
    "/accounts/password_change/",
    "/admin/",
    "/admin/demo/article/1/change/",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_data_is_inert(site: Site, alice: Page, text: str) -> None:
    images = alice.locator("img").count()
    site.publish("alice", text, json.dumps({text: [text]}))
    row = alice.locator("#events > li").first
    expect(row).to_be_visible()
    assert row.locator(".event-id").text_content() == text
    assert json.loads(row.locator("pre").text_content() or "") == {text: [text]}

    news = {"title": text, "by": text, "url": "javascript:alert(1)"}
    site.publish("alice", "news/PUBLISHED", json.dumps(news))
    toast = alice.get_by_role("region", name="Notifications").locator(".toast").last
    expect(toast).to_be_visible()
    assert toast.locator(".toast-title").text_content() == text
    expect(toast.get_by_role("link")).to_have_count(0)
    assert alice.locator("img").count() == images


def test_a_hostile_comment_is_inert(site: Site, alice: Page) -> None:
    site.open(alice, "/demo/articles/1/")
    text = "".join(HOSTILE)
    site.shell("Comment.objects.create(article_id=1, author=User.objects.get(username='bob'), text=" + repr(text) + ")")
    live = alice.locator("#comments > li .text").last
    expect(live).to_contain_text("onerror")
    assert live.text_content() == text
    alice.reload()
    rendered = alice.locator("#comments > li .text").last
    assert rendered.text_content() == text
    site.shell("Comment.objects.filter(article_id=1).delete()")


@pytest.mark.parametrize("url", ["https://evil.test/", "//evil.test/x", "data:text/html,x", "javascript:alert(1)"])
def test_a_toast_links_within_the_site_only(site: Site, alice: Page, url: str) -> None:
    site.publish("alice", "news/PUBLISHED", json.dumps({"title": "news", "by": "x", "url": url}))
    toast = alice.get_by_role("region", name="Notifications")
    expect(toast).to_contain_text("news")
    expect(toast.get_by_role("link")).to_have_count(0)


@pytest.mark.parametrize("event_id", ["constructor", "__proto__", "toString"])
def test_ids_of_object_properties_are_ids(site: Site, alice: Page, event_id: str) -> None:
    site.publish("alice", event_id, "null")
    expect(alice.locator(".event-id").first).to_have_text(event_id)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_stands_under_the_policy(site: Site, alice: Page, path: str) -> None:
    response = alice.goto(site.url + path)
    assert response is not None
    assert response.status == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    # Only the site's own pages: Django's admin has a data block, which is no script.
    if not path.startswith("/admin/"):
        source = response.text()
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", source)
