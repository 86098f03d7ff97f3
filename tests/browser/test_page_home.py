"""The home page: sign-in, the long task, the message to everybody, the event log (docs/demo.md)."""

import json
import re
from collections.abc import Callable

from playwright.sync_api import Browser, Page, Request, expect

from .site import PASSWORD, Site


def test_signing_in_and_out(site: Site, new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.goto(site.url + "/")
    expect(page).to_have_title("Sign in · Message Flow")
    expect(page.get_by_text("This is a demo site.")).to_be_visible()
    page.get_by_label("Username").fill("carol")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("correct username and password")

    site.sign_in(page, "carol")
    expect(page.get_by_role("heading", level=1)).to_have_text("Hello, carol")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · Message Flow")


def test_a_long_task_without_polling(site: Site, alice: Page) -> None:
    requests: list[Request] = []
    alice.on("request", lambda request: requests.append(request))
    alice.get_by_label("Duration in seconds").fill("2")
    alice.get_by_role("button", name="Start task").click()

    task = alice.get_by_role("list", name="Tasks").get_by_role("listitem").first
    bar = task.get_by_role("progressbar", name="Task of 2 s")
    expect(task).to_contain_text("%")
    expect(task).to_contain_text("Done")
    expect(bar).to_have_js_property("value", 20)
    expect(bar).to_have_js_property("max", 20)
    expect(alice.get_by_role("region", name="Notifications")).to_contain_text("Task of 2 s: done")
    steps = alice.locator("#events > li", has_text="task/PROGRESS")
    expect(steps).to_have_count(1)
    expect(steps.locator(".event-count")).to_have_text(re.compile(r"\u00d7 \d+"))
    assert [(request.method, request.url) for request in requests] == [("POST", f"{site.url}/demo/task/")]


def test_a_task_shows_in_every_tab_of_its_user_only(site: Site, alice: Page, bob: Page) -> None:
    second = alice.context.new_page()
    site.open(second, "/")
    before = alice.locator("#tasks > li").count()
    bob.get_by_label("Duration in seconds").fill("1")
    bob.get_by_role("button", name="Start task").click()
    alice.get_by_label("Duration in seconds").fill("3")
    alice.get_by_role("button", name="Start task").click()
    for page in (alice, second):
        expect(page.locator("#tasks > li")).to_have_count(before + 1)
        expect(page.locator("#tasks > li").first).to_contain_text("Task of 3 s")
        expect(page.locator("#tasks > li").first).to_contain_text("Done")
    expect(bob.locator("#tasks > li").first).to_contain_text("Task of 1 s")
    expect(bob.locator("#tasks > li").first).to_contain_text("Done")


def test_a_bad_duration_is_said_beside_the_form(site: Site, browser: Browser) -> None:
    # Not by `new_page`: Chromium itself writes an error into the console for every 400.
    page = browser.new_page()
    site.sign_in(page, "alice")
    page.locator("#task-form").evaluate("form => form.noValidate = true")
    page.get_by_label("Duration in seconds").fill("0")
    page.get_by_role("button", name="Start task").click()
    expect(page.locator("#task-error")).to_contain_text("greater than or equal to 1")
    page.close()


def test_without_scripts_everything_works_by_redirects(site: Site, new_page: Callable[..., Page]) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(site.url + "/")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Duration in seconds").fill("1")
    page.get_by_role("button", name="Start task").click()
    expect(page.get_by_role("status").filter(has_text="The task has started.")).to_be_visible()
    page.get_by_label("Message").fill("no script")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("The message is on its way.")).to_be_visible()
    assert page.url == site.url + "/"


def test_staff_reach_everybody(alice: Page, bob: Page) -> None:
    expect(bob.get_by_role("heading", name="Send to everybody")).to_have_count(0)
    alice.get_by_label("Message").fill("Maintenance at 22:00")
    alice.get_by_role("button", name="Send").click()
    for page in (alice, bob):
        toast = page.get_by_role("region", name="Notifications")
        expect(toast).to_contain_text("Maintenance at 22:00")
        expect(toast).to_contain_text("From alice")
        expect(page.get_by_role("list", name="News").get_by_role("listitem").first).to_contain_text("Maintenance")
    expect(alice.get_by_label("Message")).to_have_value("")


def test_an_event_with_a_title_is_a_toast(site: Site, alice: Page) -> None:
    site.shell(
        "from apps.realtime import notify\n"
        "alice = User.objects.get(username='alice')\n"
        "notify(alice, 'report/READY', {'text': '12 pages'}, title='Your report', url='/demo/articles/')\n"
        "notify(alice, 'report/SEEN', {'text': 'of no interest'})"
    )
    expect(alice.locator("#events")).to_contain_text("report/SEEN")
    toast = alice.locator(".toast")
    expect(toast).to_have_count(1)
    expect(toast.locator(".toast-text")).to_have_text("12 pages")
    expect(toast.get_by_role("link", name="Your report")).to_have_attribute("href", site.url + "/demo/articles/")


def test_a_toast_can_be_dismissed(alice: Page) -> None:
    alice.get_by_label("Message").fill("read me")
    alice.get_by_label("Message").press("Enter")
    region = alice.get_by_role("region", name="Notifications")
    # Beside it may stand what another test has told.
    region.locator(".toast", has_text="read me").get_by_role("button", name="Dismiss").click()
    expect(region).not_to_contain_text("read me")


def test_the_event_log_shows_what_came(site: Site, alice: Page, bob: Page) -> None:
    site.manage(
        *("realtime", "publish", "--user", "alice", "--id", "EXAMPLE ID"),
        *("--data", '{"n": 1, "deep": {"list": [true, null]}}'),
    )
    row = alice.locator("#events > li").first
    expect(row.locator(".event-id")).to_have_text("EXAMPLE ID")
    assert json.loads(row.locator("pre").inner_text()) == {"n": 1, "deep": {"list": [True, None]}}
    expect(bob.get_by_text("Nothing yet.")).to_be_visible()


def test_the_event_log_is_bounded(site: Site, alice: Page) -> None:
    alice.evaluate("() => { window.rows = () => document.querySelectorAll('#events > li').length; }")
    alice.evaluate(
        """async () => {
            const { logEvent } = await import("/static/demo/event-log.js");
            for (let n = 1; n <= 250; n += 1) { logEvent({ id: "many", data: { n, text: "x".repeat(9000) } }); }
        }"""
    )
    assert alice.evaluate("rows()") == 200
    expect(alice.locator("#events > li").first).to_contain_text('"n": 250')
    assert len(alice.locator("#events pre").first.inner_text()) < 5000


def test_news_of_the_timer_reach_the_page(site: Site, alice: Page) -> None:
    assert site.manage("publish_news", "--title", "Hourly news") == "1 item published.\n"
    expect(alice.get_by_role("region", name="Notifications")).to_contain_text("Hourly news")


def test_the_home_page_listens_to_the_topic_news(site: Site, alice: Page) -> None:
    site.manage("realtime", "publish", "--topic", "news", "--id", "TO READERS", "--data", '"of the topic"')
    expect(alice.locator("#events > li").first).to_contain_text("of the topic")
