"""Articles and comments: what is saved anywhere shows on the open pages (docs/demo.md)."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from .site import Site


@pytest.fixture
def article(site: Site) -> Iterator[str]:
    """The path of a new article by alice."""
    made = site.shell(
        "article = Article.objects.create(author=User.objects.get(username='alice'), title='Fresh', body='Text.')\n"
        "print(article.pk)"
    ).strip()
    yield f"/demo/articles/{made}/"
    site.shell(f"Article.objects.filter(pk={made}).delete()")


def comment_by_shell(site: Site, article: str, author: str, text: str) -> str:
    """Save a comment in another process; returns its key."""
    key = article.rstrip("/").rsplit("/", 1)[1]
    return site.shell(
        f"comment = Comment.objects.create(article_id={key}, author=User.objects.get(username={author!r}), "
        f"text={text!r})\nprint(comment.pk)"
    ).strip()


def test_a_comment_saved_in_a_shell_notifies_the_author(site: Site, article: str, alice: Page, bob: Page) -> None:
    comment_by_shell(site, article, "bob", "From a shell")
    toast = alice.get_by_role("region", name="Notifications")
    expect(toast).to_contain_text("bob on “Fresh”")
    expect(toast).to_contain_text("From a shell")
    toast.get_by_role("link").click()
    assert alice.url == site.url + article
    expect(alice.get_by_role("list").filter(has_text="From a shell")).to_be_visible()
    expect(bob.get_by_text("Nothing yet.")).to_be_visible()


def test_ones_own_comment_is_no_notification(site: Site, article: str, alice: Page) -> None:
    comment_by_shell(site, article, "alice", "Mine")
    comment_by_shell(site, article, "bob", "His")
    expect(alice.get_by_role("region", name="Notifications")).to_contain_text("His")
    expect(alice.locator(".event-id", has_text="comment/ADDED")).to_have_count(1)


def test_the_open_page_follows(site: Site, article: str, alice: Page, bob: Page) -> None:
    site.open(alice, article)
    site.open(bob, article)
    bob.get_by_label("Your comment").fill("First\nline two")
    bob.get_by_role("button", name="Add comment").click()
    for page in (alice, bob):
        comments = page.locator("#comments > li")
        expect(comments).to_have_count(1)
        expect(comments.first).to_contain_text("bob")
        expect(comments.first.locator(".text")).to_have_text("First line two")
    expect(bob.get_by_label("Your comment")).to_have_value("")

    second = comment_by_shell(site, article, "carol", "Second")
    expect(alice.locator("#comments > li")).to_have_count(2)
    site.shell(f"comment = Comment.objects.get(pk={second})\ncomment.text = 'Better'\ncomment.save()")
    expect(alice.locator("#comments > li").nth(1).locator(".text")).to_have_text("Better")
    expect(alice.locator("#comments > li")).to_have_count(2)
    site.shell(f"Comment.objects.get(pk={second}).delete()")
    expect(alice.locator("#comments > li")).to_have_count(1)


def test_a_comment_saved_in_the_admin_notifies(site: Site, article: str, alice: Page) -> None:
    site.shell(
        "bob = User.objects.get(username='bob')\n"
        "fresh = Article.objects.create(author=bob, title='By bob', body='Text.')"
    )
    admin = alice.context.new_page()
    admin.goto(site.url + "/admin/demo/comment/add/")
    admin.get_by_label("Article").select_option(label="Fresh")
    admin.get_by_label("Author").select_option(label="carol")
    admin.get_by_label("Text").fill("By the admin")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.get_by_text("was added successfully")).to_be_visible()
    expect(alice.get_by_role("region", name="Notifications")).to_contain_text("carol on “Fresh”")


def test_the_newest_articles_stand_on_the_home_page(site: Site, article: str, alice: Page) -> None:
    alice.reload()
    alice.get_by_role("link", name="Fresh").click()
    assert alice.url == site.url + article
    alice.get_by_role("link", name="Articles", exact=True).click()
    expect(alice.get_by_role("link", name="Fresh")).to_be_visible()
