"""A campaign from the browser: start it, watch it, pause and resume it, cancel it softly and by force."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from browser.office import Office


def test_a_campaign_is_started_and_watched_to_its_end(office: Office, picture: Callable[[Page, str], None]) -> None:
    office.add_leads(24)
    office.sign_in()
    run_id = office.start_campaign()
    office.await_calls(6)
    picture(office.page, "campaign")
    expect(office.state("Completed")).to_be_visible()
    expect(office.state("Completed", of=".task-progress")).to_be_visible()
    expect(office.figure("Active")).to_have_text("0")
    office.assert_shows(run_id)
    counts = office.run(run_id)["counts"]
    assert (counts["completed"] + counts["failed"], counts["total"]) == (24, 24)
    office.journal.assert_quiet()


def test_a_paused_campaign_calls_nobody_until_it_is_resumed(office: Office) -> None:
    office.add_leads(48)
    office.sign_in()
    run_id = office.start_campaign()
    office.await_calls(2)
    office.page.get_by_role("button", name="Pause").click()
    expect(office.state("Paused")).to_be_visible()
    expect(office.figure("Active")).to_have_text("0")
    assert office.run(run_id)["counts"]["queued"] > 0
    office.assert_shows(run_id)
    office.hurry()
    office.page.get_by_role("button", name="Resume").click()
    expect(office.state("Completed")).to_be_visible()
    office.assert_shows(run_id)
    office.journal.assert_quiet()


@pytest.mark.parametrize("choice", ["Cancel, let live calls end", "Cancel and hang up now"])
def test_a_cancelled_campaign_ends_with_nobody_on_the_phone(office: Office, choice: str) -> None:
    office.add_leads(60)
    office.sign_in()
    run_id = office.start_campaign()
    office.await_calls(2)
    office.page.get_by_role("button", name="Cancel campaign…").click()
    office.page.get_by_role("button", name=choice).click()
    expect(office.state("Cancelled")).to_be_visible()
    expect(office.state("Cancelled", of=".task-progress")).to_be_visible()
    expect(office.figure("Active")).to_have_text("0")
    office.assert_shows(run_id)
    counts = office.run(run_id)["counts"]
    assert counts["canceled"] > 0
    assert counts["active"] == counts["queued"] == 0
    office.journal.assert_quiet()


def test_the_list_shows_each_campaign_with_its_live_calls(office: Office, picture: Callable[[Page, str], None]) -> None:
    office.add_leads(3)
    office.sign_in()
    office.start_campaign("First")
    expect(office.state("Completed")).to_be_visible()
    office.page.get_by_role("link", name="All campaigns").click()
    row = office.page.get_by_role("row", name="First")
    expect(row.get_by_role("cell").nth(2)).to_have_text("0")
    picture(office.page, "campaigns")
    office.journal.assert_quiet()


def test_a_campaign_that_is_refused_says_why_and_keeps_what_was_typed(office: Office) -> None:
    office.api.patch("/api/business", json={"caller_ids": []}).raise_for_status()
    office.sign_in()
    page = office.page
    page.get_by_role("link", name="New campaign").click()
    page.get_by_label("Name").fill("Nobody calls")
    page.get_by_label("Message").fill("Hello.")
    page.get_by_label("Every lead").check()
    page.get_by_role("button", name="Start calling").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no number to call from")
    expect(page.get_by_label("Name")).to_have_value("Nobody calls")
    assert office.journal.errors == []
