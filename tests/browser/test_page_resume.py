"""What a page of the running site shows of the time that it was away (docs/demo.md)."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from .cable import Cable
from .site import Site

PUBLISH = "NewsItem.objects.create(title={!r}, by='the night shift')\n"

# As retention does it, at once.
TRIM = """
import time
from django.db.models import F
from apps.realtime.models import StoredEvent, Stream
deadline = time.monotonic() + 30
while StoredEvent.objects.filter(confirmed_at=None).exists() and time.monotonic() < deadline:
    time.sleep(0.05)
StoredEvent.objects.all().delete()
Stream.objects.update(floor=F("head"))
"""


@pytest.fixture(scope="module")
def own_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose server and history these tests may take away."""
    running = Site(tmp_path_factory.mktemp("site"))
    yield running
    running.stop()


@pytest.fixture
def cable(own_site: Site) -> Iterator[Cable]:
    cable = Cable(own_site.url)
    yield cable
    cable.cut()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Not `new_page`: Chromium itself writes an error into the console for each connection that is refused."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def alice(own_site: Site, cable: Cable, context: BrowserContext) -> Page:
    page = context.new_page()
    own_site.sign_in(page, "alice", url=cable.url)
    expect(page.locator("#missed")).to_have_text("up to date")
    return page


def logged_news(page: Page) -> list[str]:
    """The titles of the news in the page's log, the oldest first."""
    rows = page.locator("#events > li", has=page.locator(".event-id", has_text="news/PUBLISHED"))
    texts = reversed(rows.all_inner_texts())
    return [match[1] for text in texts if (match := re.search(r'"title": "(.*)"', text))]


def lose(page: Page, cable: Cable) -> None:
    cable.cut()
    expect(page.locator("#connected")).not_to_have_text("Online")
    expect(page.locator("#missed")).to_have_text("waiting")


def regain(page: Page, cable: Cable) -> None:
    cable.mend()
    wake(page)


def wake(page: Page) -> None:
    """What a browser says when it sees a network again: the page does not sit out its wait."""
    page.evaluate("window.dispatchEvent(new Event('online'))")


def test_what_was_missed_is_caught_up(own_site: Site, cable: Cable, alice: Page) -> None:
    lose(alice, cable)
    own_site.shell("".join(PUBLISH.format(f"Missed {number}") for number in (1, 2, 3)))
    regain(alice, cable)
    expect(alice.locator("#missed")).to_have_text("caught up: 3 events")
    assert logged_news(alice) == ["Missed 1", "Missed 2", "Missed 3"]
    assert alice.locator("#news .news-title").all_inner_texts()[:3] == ["Missed 3", "Missed 2", "Missed 1"]
    expect(alice.locator(".toast-title").last).to_have_text("Missed 3")
    # Once more, with nothing missed.
    lose(alice, cable)
    regain(alice, cable)
    expect(alice.locator("#missed")).to_have_text("up to date")
    assert len(logged_news(alice)) == 3


def test_the_largest_event_holds_up_nothing(own_site: Site, alice: Page) -> None:
    own_site.shell(
        "from apps.realtime import notify\n"
        "alice = User.objects.get(username='alice')\n"
        "notify(alice, 'large/EVENT', 'x' * (256 * 1024 - 300))\n"
        "notify(alice, 'small/EVENT')"
    )
    expect(alice.locator("#events .event-id", has_text="small/EVENT")).to_be_visible()
    expect(alice.locator("#events .event-id", has_text="large/EVENT")).to_have_count(1)


def test_a_reload_shows_it_once(own_site: Site, cable: Cable, alice: Page) -> None:
    lose(alice, cable)
    own_site.shell(PUBLISH.format("Before the reload"))
    cable.mend()
    alice.reload()
    own_site.expect_online(alice)
    expect(alice.locator("#missed")).to_have_text("up to date")
    expect(alice.locator("#news .news-title", has_text="Before the reload")).to_have_count(1)
    assert logged_news(alice) == []


def test_what_is_committed_while_the_page_loads(own_site: Site, alice: Page) -> None:
    """After the server has drawn the page, and before its socket is authenticated."""

    def publish_first(route: Route) -> None:
        own_site.shell(PUBLISH.format("In between"))
        route.continue_()

    alice.route("**/socket_auth_token", publish_first, times=1)
    alice.reload()
    expect(alice.locator("#missed")).to_have_text("caught up: 1 event", timeout=60_000)
    assert logged_news(alice) == ["In between"]
    expect(alice.locator("#news .news-title", has_text="In between")).to_have_count(1)


def test_history_that_is_trimmed_away(own_site: Site, cable: Cable, alice: Page) -> None:
    article = alice.context.new_page()
    article.goto(cable.url + "/demo/articles/1/")
    own_site.expect_online(article)
    lose(alice, cable)
    bob = "User.objects.get(username='bob')"
    own_site.shell(
        PUBLISH.format("Trimmed") + f"Comment.objects.create(article_id=1, author={bob}, text='Trimmed too')\n" + TRIM
    )
    regain(alice, cable)
    expect(alice.locator("#missed")).to_have_text("reloaded")
    expect(alice.locator("#news .news-title").first).to_have_text("Trimmed")
    assert logged_news(alice) == []
    wake(article)
    expect(article.locator("#missed")).to_have_text("reloaded")
    expect(article.locator("#comments")).to_contain_text("Trimmed too")
    # And on it goes.
    own_site.shell(PUBLISH.format("Afterwards"))
    expect(alice.locator("#news .news-title").first).to_have_text("Afterwards")
    assert logged_news(alice) == ["Afterwards"]


def test_a_numbering_that_is_ended(own_site: Site, alice: Page) -> None:
    """As after a restored backup: the page is told on its open socket, and misses nothing of what follows."""
    own_site.manage("realtime", "rotate-epoch", "--yes")
    own_site.shell(PUBLISH.format("Of the new numbering"))
    expect(alice.locator("#news .news-title").first).to_have_text("Of the new numbering", timeout=60_000)
    expect(alice.locator("#missed")).to_have_text("reloaded")
    own_site.shell(PUBLISH.format("And the next"))
    expect(alice.locator("#news .news-title").first).to_have_text("And the next")
    assert logged_news(alice)[-1] == "And the next"
    expect(alice.locator("#connected")).to_have_text("Online")


def test_a_server_that_is_killed(own_site: Site, alice: Page) -> None:
    alice.get_by_label("Duration in seconds").fill("60")
    alice.get_by_role("button", name="Start task").click()
    task = alice.locator("#tasks > li").first
    expect(task).to_contain_text("%")
    own_site.kill()
    expect(alice.locator("#connected")).not_to_have_text("Online")
    own_site.shell(PUBLISH.format("While it was dead"))
    own_site.start()
    expect(alice.locator("#missed")).to_have_text("caught up: 1 event", timeout=60_000)
    expect(alice.locator("#news .news-title").first).to_have_text("While it was dead")
    # Its task is gone with it. The page finds out by itself, and by an event like any other.
    expect(task).to_contain_text("Failed: Interrupted", timeout=60_000)
    expect(alice.locator("#events")).to_contain_text("task/FAILED")
    alice.reload()
    expect(alice.locator("#tasks > li").first).to_contain_text("Failed: Interrupted")


def test_a_reload_shows_a_running_task(alice: Page) -> None:
    alice.get_by_label("Duration in seconds").fill("5")
    alice.get_by_role("button", name="Start task").click()
    task = alice.locator("#tasks > li").first
    expect(task).to_contain_text("Task of 5 s")
    alice.reload()
    expect(task).to_contain_text("Task of 5 s")
    expect(task).to_contain_text("Done", timeout=60_000)
    expect(alice.locator(".toast-title").last).to_have_text("Task of 5 s: done")
