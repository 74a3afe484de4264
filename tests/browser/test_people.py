"""Pages that everybody can use: by keyboard, with a screen reader, in light and dark, signed in or not."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from browser.chromium import Chromium
from browser.office import Office

NOTHING: list[str] = []


def violations(page: Page, program: Chromium) -> list[str]:
    """What axe finds, each with the first place where it is."""
    page.evaluate(program.axe.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run(document)")
    return [f"{each['id']}: {each['nodes'][0]['target']}" for each in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_anybody_out(office: Office, program: Chromium, scheme: Any) -> None:
    office.page.emulate_media(color_scheme=scheme)
    office.page.goto("/")
    assert violations(office.page, program) == NOTHING
    office.add_leads(3)
    office.sign_in()
    run_id = office.start_campaign()
    expect(office.state("Completed")).to_be_visible()
    for path in ("/campaigns", f"/campaigns/{run_id}", "/campaigns/new", "/tasks", "/tasks/999999999"):
        office.page.goto(path)
        expect(office.page.get_by_text("Loading…")).to_have_count(0)
        assert (path, violations(office.page, program)) == (path, NOTHING)


def test_a_campaign_is_cancelled_with_the_keyboard_alone(office: Office) -> None:
    office.add_leads(60)
    office.sign_in()
    office.start_campaign()
    page = office.page
    page.get_by_role("button", name="Cancel campaign…").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep calling")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel campaign…")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(office.state("Cancelled")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("Task cancelled")


def test_a_key_stays_in_its_tab_and_is_gone_after_signing_out(
    office: Office, picture: Callable[[Page, str], None]
) -> None:
    office.page.goto("/tasks")
    expect(office.page.get_by_role("heading", name="Sign in")).to_be_focused()
    picture(office.page, "sign-in")
    office.sign_in()
    office.page.reload()
    expect(office.page.get_by_role("heading", name="Campaigns")).to_be_visible()
    other = office.page.context.new_page()
    other.goto("/campaigns")
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    office.page.get_by_role("button", name="Sign out").click()
    office.page.reload()
    expect(office.page.get_by_role("heading", name="Sign in")).to_be_visible()
    office.journal.assert_quiet()


def test_a_key_that_is_not_known_is_one_clear_sentence(office: Office) -> None:
    office.page.goto("/")
    office.page.get_by_label("API key").fill("sbk_wrong")
    office.page.get_by_role("button", name="Sign in").click()
    expect(office.page.get_by_role("alert")).to_contain_text("Not authenticated.")
    assert office.journal.errors == []
