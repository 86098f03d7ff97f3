"""Hostile data is shown as text, and the pages need no exception from the strict policy (docs/demo.md)."""

import json
import re

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


def test_hostile_data_is_inert(site: Site, alice: Page) -> None:
    images = alice.locator("img").count()
    site.push("alice", *((text, {text: [text]}) for text in HOSTILE))
    rows = alice.locator("#events > li")
    expect(rows).to_have_count(len(HOSTILE))
    for text, row in zip(reversed(HOSTILE), rows.all(), strict=True):
        assert row.locator(".event-id").text_content() == text
        assert json.loads(row.locator("pre").text_content() or "") == {text: [text]}
    assert alice.locator("img").count() == images


def test_a_hostile_notification_is_inert_and_links_within_the_site_only(site: Site, alice: Page) -> None:
    foreign = ("javascript:alert(1)", "https://evil.test/", "//evil.test/x", "data:text/html,x", "/demo/articles/")
    news = [{"title": text, "by": text, "url": url} for text, url in zip(HOSTILE, foreign, strict=True)]
    site.push("alice", *(("news/PUBLISHED", item) for item in news))
    expect(alice.locator("#events > li")).to_have_count(len(news))
    toasts = alice.locator(".toast")
    expect(toasts).to_have_count(3)
    assert toasts.locator(".toast-title").all_text_contents() == [item["title"] for item in news[-3:]]
    links = [link.get_attribute("href") for link in toasts.get_by_role("link").all()]
    assert links == [site.url + "/demo/articles/"]


def test_only_paths_of_the_site_become_links(alice: Page) -> None:
    links = alice.evaluate(
        """async (urls) => {
            const { toast } = await import("/static/demo/toasts.js");
            return urls.map((url) => {
                toast({ title: "news", url });
                return document.querySelector(".toast:last-child a") !== null;
            });
        }""",
        ["/demo/", "", None, 7, "https://evil.test/", "//evil.test", "javascript:alert(1)", "data:,x", "http://["],
    )
    assert links == [True] + [False] * 8


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


def test_ids_of_object_properties_are_ids(site: Site, alice: Page) -> None:
    ids = ("constructor", "__proto__", "toString")
    site.push("alice", *((event_id, None) for event_id in ids))
    expect(alice.locator(".event-id")).to_have_text(list(reversed(ids)))


def test_every_page_stands_under_the_policy(site: Site, alice: Page) -> None:
    for path in PATHS:
        response = alice.goto(site.url + path)
        assert response is not None
        assert response.status == 200, path
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        # Only the site's own pages. A data block is no script.
        if not path.startswith("/admin/"):
            inline = r"<script(?![^>]*\s(src=|type=\"application/json\"))|<style|\sstyle=|\son\w+=|javascript:"
            assert not re.search(inline, response.text()), path
