"""The page written as in the 2016 article, on the running site (docs/browser-client.md)."""

from playwright.sync_api import Page, expect

from .site import Site


def test_the_articles_page_works(site: Site, alice: Page) -> None:
    site.open(alice, "/demo/article-2016/")
    site.push("alice", ("EXAMPLE ID", {"n": 1}))
    expect(alice.locator("#messages")).to_contain_text('Example: {"n":1}')


def test_it_shows_the_task_of_another_tab(site: Site, alice: Page) -> None:
    old = alice.context.new_page()
    site.open(old, "/demo/article-2016/")
    alice.get_by_label("Duration in seconds").fill("1")
    alice.get_by_role("button", name="Start task").click()
    expect(old.locator("#messages")).to_contain_text("Task of 1 s: done")
    expect(old.locator("#messages")).to_contain_text("of 10")


def test_it_writes_no_cookie(site: Site, alice: Page) -> None:
    site.open(alice, "/demo/article-2016/")
    names = {cookie["name"] for cookie in alice.context.cookies() if not cookie["httpOnly"]}
    assert names == {"csrftoken"}
