"""The product's page in Chromium against `make stack`, through nginx (docs/stack.md)."""

import os
import signal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.stack.checkout import Checkout
from tests.stack.conftest import TOKEN_LIFE_SECS
from tests.stack.pages import Home, open_home

# nginx cuts a socket after 60 s of silence.
IDLE_SECS = 65


def test_an_event_is_shown_in_every_tab_of_its_user_and_in_no_other(
    page: Page, browser: Browser, calm: Checkout
) -> None:
    first = open_home(page, calm, "alice")
    second = Home(page.context.new_page(), calm)
    second.page.goto(calm.base)
    second.expect_online()
    bobs_context = browser.new_context()
    bob = open_home(bobs_context.new_page(), calm, "bob")

    calm.publish("alice", "for/ALICE")
    calm.publish("bob", "for/BOB")
    first.expect_event("for/ALICE")
    second.expect_event("for/ALICE")
    bob.expect_event("for/BOB")
    for home, foreign in ((first, "for/BOB"), (second, "for/BOB"), (bob, "for/ALICE")):
        expect(home.page.locator("#events")).not_to_contain_text(foreign)
    bobs_context.close()


def test_a_page_outlives_its_token_on_one_socket(page: Page, shaken: Checkout) -> None:
    home = open_home(page, shaken, "alice")
    first_token = home.tokens[0]
    home.wait_for_age(TOKEN_LIFE_SECS + 3)
    home.expect_online(timeout_ms=1)
    assert len(home.sockets) == 1, "it did reconnect"
    assert home.tokens[-1] != first_token, "it never fetched a fresh token"
    shaken.publish("alice", "after/EXPIRY")
    home.expect_event("after/EXPIRY")


@pytest.mark.parametrize("last", ["ws:ws-1", "ws:ws-2"])
def test_a_page_is_back_by_itself_when_its_node_was_killed(page: Page, shaken: Checkout, last: str) -> None:
    home = open_home(page, shaken, "alice")
    first = "ws:ws-2" if last == "ws:ws-1" else "ws:ws-1"
    # Whichever node holds the page, it is killed under it once or twice.
    for program in (first, last):
        pid = shaken.pid(program)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        shaken.wait_ready()
    home.expect_online()
    assert len(home.sockets) > 1, "no socket was lost: nothing was tested"
    shaken.publish("alice", "after/KILL")
    home.expect_event("after/KILL")


@pytest.mark.late(1)
def test_an_idle_page_is_still_connected_after_nginx_would_have_cut_it(idle_home: Home) -> None:
    idle_home.wait_for_age(IDLE_SECS)
    idle_home.expect_online(timeout_ms=1)
    assert len(idle_home.sockets) == 1, "it did reconnect"
    assert idle_home.heartbeats >= 1
    idle_home.stack.publish("carol", "after/IDLENESS")
    idle_home.expect_event("after/IDLENESS")
