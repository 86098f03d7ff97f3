"""What the other tabs show when one of them signs out (docs/tokens.md)."""

from playwright.sync_api import Page, expect

from .site import Site


def test_a_sign_out_in_one_tab_ends_live_updates_in_the_others(site: Site, alice: Page, bob: Page) -> None:
    other = alice.context.new_page()
    site.open(other, "/")
    alice.get_by_role("button", name="Sign out").click()
    notice = other.get_by_text("You have been signed out. Sign in again to see live updates.")
    expect(notice).to_be_visible()
    expect(other.locator("#connected")).to_have_text("Offline")
    site.expect_online(bob)
