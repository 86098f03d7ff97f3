"""The bell and the inbox page on the running site (docs/inbox.md, "The bell")."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from .site import PASSWORD, Site
from .test_page_access import CONTRAST, overflow
from .test_page_security import HOSTILE

# Everybody has an inbox of their own, which no other test knows of.
SET_UP = f"""
from apps.realtime import notify
dora, emil, fay, gus, hal = (
    User.objects.create_user(name, password={PASSWORD!r}) for name in ("dora", "emil", "fay", "gus", "hal")
)
Article.objects.create(author=dora, title="Of bells", body="…")
for title in {HOSTILE!r}:
    notify(fay, "hostile/TITLE", title=title, url="/demo/articles/")
notify(fay, "long/TITLE", title="W" * 200)
for n in (1, 2, 3):
    notify(gus, f"invoice/PAID{{n}}", title=f"Invoice {{n}}", url=f"/demo/articles/?invoice={{n}}")
"""

A_THOUSAND = """
from django.db import transaction
from apps.realtime import notify
hal = User.objects.get(username="hal")
with transaction.atomic():
    for n in range(1, 1001):
        notify(hal, "invoice/PAID", {"invoice": n}, title=f"Invoice {n}", url="/demo/articles/")
"""

# Less than a second, but a tab behind another draws once a second.
SAME_TIME_MS = 3000


@pytest.fixture(scope="module")
def bells(site: Site) -> Site:
    """The site, with people and what they were told."""
    site.shell(SET_UP)
    return site


def badge(page: Page) -> Locator:
    return page.locator("realtime-bell [part=badge]")


def open_panel(page: Page) -> Locator:
    page.get_by_role("button", name="Notifications", exact=True).click()
    panel = page.get_by_role("group", name="Notifications")
    expect(panel.get_by_role("listitem").first).to_be_visible()
    return panel


def comment(page: Page, text: str) -> None:
    page.get_by_label("Your comment").fill(text)
    page.get_by_role("button", name="Add comment").click()


def expect_count(pages: list[Page], text: str) -> None:
    """One shows it at last, and all others at the same time."""
    expect(badge(pages[0])).to_have_text(text, timeout=15_000)
    for page in pages[1:]:
        expect(badge(page)).to_have_text(text, timeout=SAME_TIME_MS)


def test_one_count_in_every_tab(bells: Site, new_page: Callable[..., Page]) -> None:
    first, other = new_page(), new_page()
    bells.sign_in(first, "dora")
    bells.sign_in(other, "emil")
    second, third = first.context.new_page(), first.context.new_page()
    bells.open(second, "/demo/articles/")
    # A page that opens no connection: the bell does.
    third.goto(bells.url + "/accounts/profile/")
    expect(badge(third)).to_be_hidden()
    requests: list[Request] = []
    second.on("request", lambda request: requests.append(request))

    other.get_by_role("link", name="Of bells").first.click()
    bells.expect_online(other)
    comment(other, "one")
    expect_count([first, second, third], "1")
    comment(other, "two")
    expect_count([first, second, third], "2")
    assert requests == [], "a closed bell asks for nothing"

    first.bring_to_front()
    panel = open_panel(first)
    rows = panel.get_by_role("listitem")
    expect(rows).to_have_count(2)
    expect(rows.first.get_by_role("link")).to_have_text("emil on “Of bells”")
    rows.first.get_by_role("button", name="Mark as read").click()
    expect_count([first, second, third], "1")
    panel.get_by_role("button", name="Mark all as read").click()
    for page in (first, second, third):
        expect(badge(page)).to_be_hidden()
    panel.get_by_role("button", name="Undo").click()
    expect_count([first, second, third], "1")
    expect(rows.nth(1).get_by_role("button", name="Mark as read")).to_be_visible()
    rows.nth(1).get_by_role("link").click()
    expect(first).to_have_url(re.compile(r"/demo/articles/\d+/$"))
    for page in (first, second, third):
        expect(badge(page)).to_be_hidden()

    # Nothing of it is the other's.
    expect(badge(other)).to_be_hidden()
    answer = other.request.get(bells.url + "/inbox", headers={"Accept": "application/json"}).json()
    assert (answer["unread"], answer["items"]) == (0, [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_titles_are_inert_and_all_is_readable(bells: Site, new_page: Callable[..., Page], scheme: str) -> None:
    page = new_page(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    bells.sign_in(page, "fay")
    expect(badge(page)).to_have_text("6")
    titles = open_panel(page).locator("[part=title]")
    expected = ["W" * 200, *reversed(HOSTILE)]
    assert titles.all_text_contents() == expected
    assert page.locator("realtime-bell img").count() == 0
    # After the animation.
    page.locator("realtime-bell").evaluate(
        "bell => Promise.all(bell.shadowRoot.getAnimations().map(({ finished }) => finished))"
    )
    assert page.locator("realtime-bell").evaluate(f"bell => ({CONTRAST})(bell.shadowRoot)") == []
    assert overflow(page) == 0

    page.goto(bells.url + "/inbox")
    assert page.locator(".inbox-title").all_text_contents() == expected
    assert page.locator(".inbox-list img").count() == 0
    assert page.evaluate(f"({CONTRAST})(document.body)") == []
    assert overflow(page) == 0


def test_the_inbox_without_scripts(bells: Site, new_page: Callable[..., Page]) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(bells.url + "/inbox")
    page.get_by_label("Username").fill("gus")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    link = page.locator("realtime-bell a")
    expect(link).to_have_text("Notifications (3)")
    link.click()
    rows = page.get_by_role("list", name="Notifications").get_by_role("listitem")
    expect(rows).to_contain_text(["Invoice 3", "Invoice 2", "Invoice 1"])
    rows.nth(1).get_by_role("button", name="Mark as read").click()
    expect(link).to_have_text("Notifications (2)")
    rows.nth(1).get_by_role("button", name="Mark as unread").click()
    expect(link).to_have_text("Notifications (3)")
    page.get_by_role("button", name="Mark all as read").click()
    expect(link).to_have_text("Notifications")
    page.get_by_role("button", name="Undo").click()
    expect(link).to_have_text("Notifications (3)")
    rows.first.get_by_role("button", name="Hide").click()
    expect(link).to_have_text("Notifications (2)")
    expect(rows).to_contain_text(["Invoice 2", "Invoice 1"])
    rows.first.get_by_role("button", name="Mute invoice/PAID2").click()
    page.get_by_role("button", name="Unmute invoice/PAID2").click()
    expect(page.get_by_role("heading", name="Muted")).to_have_count(0)
    rows.first.get_by_role("link", name="Invoice 2").click()
    expect(page).to_have_url(bells.url + "/demo/articles/?invoice=2")


def test_a_thousand_notifications(bells: Site, new_page: Callable[..., Page]) -> None:
    page = new_page()
    bells.sign_in(page, "hal")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    bells.shell(A_THOUSAND)
    expect(badge(page)).to_have_text("999+", timeout=60_000)
    expect(page.locator("realtime-bell [part=spoken]")).to_have_text("999+ unread notifications")
    assert asked == []
    panel = open_panel(page)
    expect(panel.get_by_role("listitem")).to_have_count(30)
    expect(panel.get_by_role("listitem").first).to_contain_text("Invoice 1000")
    panel.get_by_role("button", name="Mark all as read").click()
    expect(badge(page)).to_be_hidden()
    page.reload()
    bells.expect_online(page)
    expect(badge(page)).to_be_hidden()
