"""Phone width, keyboard, screen reader, dark mode (docs/demo.md)."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .site import PASSWORD, Site

LIVE_PATHS = ("/", "/demo/articles/", "/demo/articles/1/", "/demo/article-2016/")
STILL_PATHS = ("/accounts/profile/", "/accounts/password_change/", "/accounts/password_change/done/")


def test_a_phone_never_scrolls_sideways(site: Site, new_page: Callable[..., Page]) -> None:
    page = new_page(viewport={"width": 360, "height": 640})
    page.goto(site.url + "/")
    assert overflow(page) == 0
    site.sign_in(page, "alice")
    site.push(
        "alice",
        ("a/VERY-LONG-ID-" + "x" * 150, {"word": "y" * 400}),
        ("news/PUBLISHED", {"title": "z" * 200, "by": "x"}),
        ("task/PROGRESS", {"task": "t", "label": "w" * 200, "done": 1, "total": 3}),
    )
    expect(page.get_by_role("progressbar").first).to_be_visible()
    assert overflow(page) == 0
    for path in LIVE_PATHS + STILL_PATHS:
        page.goto(site.url + path)
        assert overflow(page) == 0, path


def test_the_keyboard_is_enough(site: Site, new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.goto(site.url + "/")
    page.keyboard.type("carol")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    site.expect_online(page)

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Duration in seconds")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type("1")
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Start task")
    expect(button).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("list", name="Tasks")).to_contain_text("Done")
    expect(button).to_be_focused()


def test_a_screen_reader_finds_its_way(site: Site, alice: Page) -> None:
    for path in LIVE_PATHS + STILL_PATHS:
        alice.goto(site.url + path)
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            expect(alice.get_by_role(landmark)).to_have_count(1)
        expect(alice.get_by_role("heading", level=1)).to_have_count(1)
        expect(alice.locator("html")).to_have_attribute("lang", "en")
        assert alice.evaluate(_NAMELESS) == [], path


def test_changes_are_read_out(alice: Page) -> None:
    expect(alice.get_by_role("status", name="Live connection")).to_contain_text("Online")
    expect(alice.get_by_role("region", name="Notifications")).to_have_attribute("aria-live", "polite")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_are_readable(site: Site, new_page: Callable[..., Page], scheme: str) -> None:
    page = new_page(color_scheme=scheme)
    site.sign_in(page, "alice")
    site.push("alice", ("task/DONE", {"task": "t", "label": "Import", "done": 3, "total": 3}))
    expect(page.locator("[data-task=t]")).to_contain_text("Done")
    faint = page.evaluate(f"({CONTRAST})(document.body)")
    assert faint == []
    lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert lightness > 200 if scheme == "light" else lightness < 50


def overflow(page: Page) -> int:
    """How far the page can be scrolled sideways, in pixels."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


_NAMELESS = """() => [...document.querySelectorAll("input:not([type=hidden], [hidden]), textarea, button, a")]
    .filter((element) => !(element.labels?.length || element.textContent.trim() || element.ariaLabel))
    .map((element) => element.outerHTML)"""

# Every element below `root` with text of its own against the nearest ground that is painted: WCAG 2.2, 1.4.3 asks for
# 4.5:1.
CONTRAST = """(root) => {
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = colour.map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
            const [r, g, b, alpha = 1] = rgb(getComputedStyle(at).backgroundColor);
            if (alpha === 1) { return [r, g, b]; }
        }
        return [255, 255, 255];
    };
    return [...root.querySelectorAll("*")]
        .filter((element) => element.checkVisibility() && [...element.childNodes]
            .some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
        .map((element) => {
            const text = luminance(rgb(getComputedStyle(element).color).slice(0, 3));
            const behind = luminance(ground(element));
            const ratio = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
            return [ratio.toFixed(2), element.className || element.tagName, element.textContent.trim().slice(0, 40)];
        })
        .filter(([ratio]) => ratio < 4.5);
}"""
