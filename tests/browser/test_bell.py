"""bell.js: a count that is only ever set, and requests that are few (docs/inbox.md, "The bell")."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Locator, expect

from .bench import ClientBench
from .test_client_resume import at, gap, new, recovered

BELL = '<realtime-bell unread="3" inbox="/inbox" csrf="csrf-token" socket="/socket" token="/socket_auth_token">'
SCRIPT = '<script type="module" src="/js/bell.js"></script>'
# The page's own, which comes first.
PAGE_SCRIPT = """<script type="module">
    import { connect } from "/js/realtime.js";
    window.asked = [];
    const snapshot = () => new Promise((give) => { window.asked.push(give); });
    window.connection = connect({ snapshot, onEvent: ({ seq }) => { window.last = seq; } });
</script>"""
# What the page carries by {% realtime_cursor %}.
CURSOR = '<script type="application/json" id="realtime-cursor">{"user.1": {"epoch": "e", "seq": 5}}</script>'


class Bell:
    """A page with a bell, whose server and clock are the test."""

    def __init__(self, bench: ClientBench) -> None:
        self._bench = bench
        self._page = bench.page
        self._page.add_init_script(path=Path(__file__).with_name("fake_inbox.js"))
        self.button = self._page.get_by_role("button", name="Notifications", exact=True)
        self.panel = self._page.get_by_role("group", name="Notifications")
        self.rows = self.panel.get_by_role("listitem")

    def load(self, before: str = CURSOR, **streams: Any) -> None:
        """Its socket is let in and finds the user's stream so."""
        self._bench.html = f"<!doctype html><title>bell</title>{before}{SCRIPT}{BELL}"
        self._bench.load()
        self._bench.run_until("sockets.length > 0")
        self._bench.online(streams=streams or {"user.1": recovered(5, 0)})
        self.wait_ms(0)

    def wait_ms(self, milliseconds: int) -> None:
        """Time passes, and a frame is drawn; what is answered is shown."""
        for part in (milliseconds, 20, 20):
            self._bench.wait_ms(part)
            self._page.evaluate("async () => { for (let i = 0; i < 30; i += 1) { await null; } }")

    def event(self, seq: int | None, unread: int | None, **more: Any) -> None:
        """An event of the user arrives."""
        fields = {"id": "a/B", "data": None, "stream": "user.1", "seq": seq, "unread": unread, **more}
        self._bench.send_text(json.dumps({name: value for name, value in fields.items() if value is not None}))

    def state(self, unread: int, seq: int, *items: dict[str, Any]) -> None:
        """What the inbox answers from now on."""
        page = {"unread": unread, "items": items, "cursor": {"user.1": at(seq), "all": at(99)}, "next": None}
        self._page.evaluate("page => { inbox.page = page; }", page)

    def open(self) -> None:
        self.button.click()
        self.wait_ms(0)

    @property
    def badge(self) -> str:
        shown = self._page.locator("[part=badge]")
        return shown.inner_text() if shown.is_visible() else ""

    @property
    def spoken(self) -> str:
        return self._page.locator("[part=spoken]").inner_text()

    @property
    def gets(self) -> int:
        """How often the inbox was asked."""
        return int(self._page.evaluate("inbox.asked.filter(([line]) => line === 'GET /inbox').length"))

    @property
    def posts(self) -> list[tuple[str, dict[str, str]]]:
        """Path and fields of each change, in order."""
        asked = self._page.evaluate("inbox.asked.filter(([line]) => line.startsWith('POST '))")
        return [(line.removeprefix("POST "), dict(parse_qsl(body))) for line, body in asked]


@pytest.fixture
def bell(bench: ClientBench) -> Bell:
    return Bell(bench)


def item(mid: str, **more: Any) -> dict[str, Any]:
    given = {"mid": mid, "id": "a/B", "title": f"Title {mid}", "url": None, "at": "2026-01-02T03:04:05Z", "read": False}
    return given | more


def toggle(row: Locator) -> Locator:
    return row.get_by_role("button")


# --- the count ---


def test_the_page_and_its_events_say_how_many(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    assert bench.page.evaluate("sockets[0].url") == "ws://client.test/socket", "where the tag has said"
    assert (bell.badge, bell.spoken) == ("3", "3 unread notifications")
    bell.event(None, 77)
    bell.wait_ms(1000)
    assert bell.badge == "3", "an ephemeral event may come from anybody"
    bell.event(6, 4)
    bell.event(7, 1)
    bell.wait_ms(1000)
    assert (bell.badge, bell.spoken) == ("1", "1 unread notification")
    bell.event(8, None)
    bell.event(9, 0)
    bell.wait_ms(1000)
    assert (bell.badge, bell.spoken) == ("", "No unread notifications")
    bell.event(10, 999)
    bell.wait_ms(0)
    assert bell.badge == "999"
    bell.event(11, 1000)
    bell.wait_ms(1000)
    assert (bell.badge, bell.spoken) == ("999+", "999+ unread notifications")
    assert bell.gets == 0, "closed, and nothing was missed"


def test_a_thousand_events_are_one_drawing(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    bench.page.evaluate(
        """() => {
            window.drawings = { badge: 0, spoken: 0 };
            for (const name of Object.keys(drawings)) {
                const part = document.querySelector("realtime-bell").shadowRoot.querySelector(`[part=${name}]`);
                new MutationObserver(() => { drawings[name] += 1; }).observe(part, { childList: true });
            }
        }"""
    )
    bench.page.evaluate(
        """() => {
            for (let n = 1; n <= 1000; n += 1) {
                const event = { id: "a/B", data: null, stream: "user.1", seq: 5 + n, unread: 3 + n };
                sockets.at(-1).serverSend(JSON.stringify(event));
            }
        }"""
    )
    bell.wait_ms(1000)
    assert bell.badge == "999+"
    assert bench.page.evaluate("drawings") == {"badge": 1, "spoken": 1}
    assert bell.gets == 0


def test_a_page_without_a_cursor_asks_once(bell: Bell) -> None:
    bell.load(before="", **{"user.1": new(8), "all": new(1)})
    assert bell.gets == 1
    bell.state(2, 8)
    bell.event(9, 7)
    bell.wait_ms(5000)
    assert (bell.badge, bell.gets) == ("7", 1)


def test_an_answer_older_than_the_events_is_not_shown(bench: ClientBench, bell: Bell) -> None:
    bench.page.add_init_script("inbox.held = true")
    bell.load(before="", **{"user.1": new(8)})
    bell.event(9, 7)
    bench.page.evaluate("inbox.held = false; inbox.release()")  # it holds the state of 5
    bell.wait_ms(0)
    assert bell.badge == "7"
    bell.state(6, 10)
    bell.wait_ms(1000)
    assert (bell.badge, bell.gets) == ("6", 2), "so it is asked again"
    bell.event(10, 8)
    bell.wait_ms(0)
    assert bell.badge == "6", "the answer held that event"


def test_a_gap_begins_anew(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    bell.event(6, 9)
    bell.state(2, 1)
    bench.send("GAP", stream="user.1", **at(1, "of another numbering"), reason="epoch")
    bell.wait_ms(2000)
    assert (bell.badge, bell.gets) == ("2", 1)
    bell.event(2, 4)
    bell.wait_ms(0)
    assert bell.badge == "4"
    bench.close(1006)
    bell.wait_ms(1000)
    bench.online(streams={"user.1": gap(900)})
    bell.wait_ms(2000)
    assert bell.gets == 2


def test_an_answer_of_before_the_gap_is_void(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    bell.state(9, 5)
    bench.page.evaluate("inbox.held = true")
    bell.open()
    bell.state(2, 1)
    bench.send("GAP", stream="user.1", **at(1, "of another numbering"), reason="epoch")
    bench.page.evaluate("inbox.held = false; inbox.release()")
    bell.wait_ms(0)
    assert bell.badge == "3"
    bell.wait_ms(2000)
    assert bell.badge == "2"
    bell.event(2, 4)
    bell.wait_ms(0)
    assert bell.badge == "4"


def test_what_a_snapshot_of_the_page_swallows(bench: ClientBench, bell: Bell) -> None:
    """Events that the page's new state holds do not come: their count has to be asked for."""
    bell.load(CURSOR + PAGE_SCRIPT)
    assert bench.sockets == 1, "the bell has taken the page's connection"
    bell.event(6, 4)
    bench.page.evaluate("connection.refresh()")
    bell.wait_ms(0)
    bell.event(7, 6)
    bell.state(6, 7)
    bench.page.evaluate("asked[0]({ cursor: { 'user.1': { epoch: 'e', seq: 7 } }, apply: () => {} })")
    bell.wait_ms(0)
    assert (bell.badge, bench.page.evaluate("last")) == ("6", 6)


def test_a_bell_that_comes_late_asks(bench: ClientBench, bell: Bell) -> None:
    """Events may have come before it listened."""
    bell.load(CURSOR + PAGE_SCRIPT)
    bell.event(6, 4)
    bell.state(4, 6)
    bench.page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", BELL)
    bell.wait_ms(0)
    badges = bench.page.locator("[part=badge]")
    expect(badges).to_have_text(["4", "4"])
    assert (bell.gets, bench.sockets) == (1, 1)
    # One that is taken out listens no more.
    bench.page.evaluate("document.querySelector('realtime-bell').remove()")
    bell.event(7, 5)
    bell.wait_ms(0)
    expect(badges).to_have_text(["5"])


def test_a_server_that_is_away_is_asked_again(bench: ClientBench, bell: Bell) -> None:
    bench.page.add_init_script("inbox.status = 503")
    bell.load(before="", **{"user.1": new(8)})
    bell.wait_ms(750)
    assert (bell.badge, bell.gets) == ("3", 2)
    # Who opens it does not sit out the wait.
    bell.open()
    assert bell.gets == 3
    expect(bell.panel).to_contain_text("The server could not be reached. Try again.")
    bell.state(4, 8)
    bench.page.evaluate("inbox.status = 200")
    bell.wait_ms(2250)
    assert (bell.badge, bell.gets) == ("4", 4)


def test_who_is_signed_out_is_told(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    bench.page.evaluate("inbox.status = 401")
    bell.open()
    expect(bell.panel).to_contain_text("You are signed out.")
    bell.wait_ms(60_000)
    assert bell.gets == 1


# --- the panel ---


def test_the_list_is_loaded_on_opening_only(bell: Bell) -> None:
    bell.load()
    bell.state(4, 6, item("b"), item("a", read=True, url="/a"))
    bell.event(6, 4)
    bell.wait_ms(1000)
    assert bell.gets == 0
    expect(bell.panel).to_be_hidden()
    bell.open()
    assert bell.gets == 1
    expect(bell.rows).to_contain_text(["Title b", "Title a"])
    expect(toggle(bell.rows.nth(0))).to_have_attribute("aria-label", "Mark as read: Title b")
    expect(toggle(bell.rows.nth(1))).to_have_attribute("aria-label", "Mark as unread: Title a")
    bell.button.click()
    expect(bell.panel).to_be_hidden()
    bell.event(7, 5)
    bell.wait_ms(1000)
    assert bell.gets == 1


def test_an_open_list_follows_and_asks_once_a_second(bell: Bell) -> None:
    bell.load()
    bell.state(1, 6, item("a"))
    bell.open()
    for n in range(20):
        bell.event(6 + n, 2 + n)
        bell.wait_ms(0)
    assert bell.gets <= 2
    bell.state(21, 25, item("c"), item("b"), item("a"))
    bell.wait_ms(1000)
    expect(bell.rows).to_have_count(3)
    expect(bell.rows.first).to_contain_text("Title c")
    assert bell.gets <= 3


def test_marks_and_undo(bench: ClientBench, bell: Bell) -> None:
    csrf = {"csrfmiddlewaretoken": "csrf-token"}
    bell.load()
    bell.state(2, 5, item("b"), item("a"))
    bell.open()
    toggle(bell.rows.nth(1)).click()
    expect(toggle(bell.rows.nth(1))).to_have_attribute("aria-label", "Mark as unread: Title a")
    expect(toggle(bell.rows.nth(1))).to_be_focused()
    toggle(bell.rows.nth(1)).click()
    expect(toggle(bell.rows.nth(1))).to_have_attribute("aria-label", "Mark as read: Title a")
    assert bell.posts == [("/inbox/read", {"mid": "a"} | csrf), ("/inbox/unread", {"mid": "a"} | csrf)]
    read_all = bell.panel.get_by_role("button", name="Mark all as read")
    undo = bell.panel.get_by_role("button", name="Undo")
    expect(undo).to_be_hidden()
    bell.state(0, 6, item("b", read=True), item("a", read=True))
    read_all.click()
    bell.wait_ms(1000)
    expect(read_all).to_be_hidden()
    expect(bell.panel).to_be_focused()
    assert bell.badge == ""
    bell.state(2, 7, item("b"), item("a"))
    undo.click()
    bell.wait_ms(1000)
    expect(undo).to_be_hidden()
    expect(read_all).to_be_visible()
    assert bell.posts[2:] == [("/inbox/read", {"upto": "b"} | csrf), ("/inbox/unread", {"undo": "undo-token"} | csrf)]
    bench.page.evaluate("inbox.status = 403")
    toggle(bell.rows.first).click()
    expect(bell.panel).to_contain_text("This page is out of date. Reload it and try again.")
    expect(toggle(bell.rows.first)).to_have_attribute("aria-label", "Mark as read: Title b")


def test_a_link_marks_as_it_is_followed(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    bell.state(1, 5, item("c", read=True, url="#c"), item("b", url="#b"), item("a", url="javascript:alert(1)"))
    bell.open()
    links = bell.panel.get_by_role("link", name="Title")
    expect(links).to_have_count(2)
    links.nth(0).click()
    assert bell.posts == []
    links.nth(1).click()
    assert [(path, fields["mid"]) for path, fields in bell.posts] == [("/inbox/read", "b")]
    assert bench.page.url.endswith("#b")


def test_the_keyboard_opens_and_escape_closes(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    bell.state(1, 5, item("a", url="#a"))
    press = bench.page.keyboard.press
    press("Tab")
    expect(bell.button).to_be_focused()
    expect(bell.button).to_have_attribute("aria-expanded", "false")
    expect(bell.button).to_have_accessible_description("3 unread notifications")
    press("Enter")
    bell.wait_ms(0)
    expect(bell.button).to_have_attribute("aria-expanded", "true")
    press("Tab")
    expect(bell.panel.get_by_role("button", name="Mark all as read")).to_be_focused()
    press("Tab")
    expect(bell.panel.get_by_role("link", name="Title a")).to_be_focused()
    press("Escape")
    expect(bell.panel).to_be_hidden()
    expect(bell.button).to_be_focused()
    expect(bell.button).to_have_attribute("aria-expanded", "false")
    bell.open()
    bench.page.mouse.click(5, 500)
    expect(bell.panel).to_be_hidden()


def test_a_row_that_stays_keeps_the_focus(bench: ClientBench, bell: Bell) -> None:
    bell.load()
    bell.state(1, 5, item("b"), item("a"))
    bell.open()
    toggle(bell.rows.nth(1)).focus()
    bell.state(2, 6, item("c"), item("b"), item("a"))
    bell.event(6, 2)
    bell.wait_ms(1000)
    expect(bell.rows).to_have_count(3)
    expect(toggle(bell.rows.nth(2))).to_be_focused()
    bell.state(1, 7, item("c"), item("b"))
    bell.event(7, 1)
    bell.wait_ms(1000)
    expect(bell.rows).to_have_count(2)
    expect(bell.panel).to_be_focused()
    expect(bell.panel).to_be_visible()
