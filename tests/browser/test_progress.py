"""``TaskProgress`` in a real browser: by socket, without one, and with an api that is killed in between."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, Request, WebSocketRoute, expect

from browser.journal import FALLBACK
from browser.office import Office


def test_an_api_that_is_killed_and_restarted_is_not_noticed(office: Office) -> None:
    office.add_leads(60)
    office.sign_in()
    run_id = office.start_campaign()
    office.await_calls(6)

    api = office.stack.processes["api"]
    with office.page.expect_console_message(lambda message: message.text == FALLBACK):
        api.kill()
    expect(office.page.get_by_role("alert")).to_have_count(0)
    # Polls have met nobody by now, and still nothing is said.
    with office.page.expect_event("requestfailed", lambda request: "/api/tasks/" in request.url):
        pass
    expect(office.page.get_by_role("alert")).to_have_count(0)
    with office.page.expect_websocket(timeout=40_000):
        office.stack.start("api")
        # It holds still until the page has come back by itself: how soon that is, is left to chance.
        office.api.post(f"/api/outbound_calls/runs/{run_id}/pause").raise_for_status()
    office.hurry()
    office.api.post(f"/api/outbound_calls/runs/{run_id}/resume").raise_for_status()

    expect(office.state("Completed")).to_be_visible(timeout=60_000)
    expect(office.state("Completed", of=".task-progress")).to_be_visible()
    expect(office.page.get_by_role("alert")).to_have_count(0)
    office.assert_shows(run_id)
    counts = office.run(run_id)["counts"]
    assert (counts["total"], counts["active"], counts["queued"]) == (60, 0, 0)
    assert set(office.journal.warnings) == {FALLBACK}
    assert office.journal.errors == []


def test_without_a_socket_it_polls_to_the_end_and_only_the_console_knows(
    office: Office, context: BrowserContext
) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1011, reason="blocked by the test")

    context.route_web_socket("**/ws/**", refuse)
    polls: list[str] = []

    def count(request: Request) -> None:
        if request.method == "GET" and "/api/tasks/" in request.url:
            polls.append(request.url)

    office.page.on("request", count)
    office.add_leads(18)
    office.sign_in()
    run_id = office.start_campaign()
    expect(office.state("Completed", of=".task-progress")).to_be_visible()
    expect(office.state("Completed")).to_be_visible()
    office.assert_shows(run_id)
    assert office.journal.warnings == [FALLBACK]
    assert (office.journal.errors, office.journal.of_the_network) == ([], [])
    assert len(polls) >= 2
    # At the end the timer is cleared: the next poll would come within two seconds.
    known = len(polls)
    office.page.wait_for_timeout(2_500)
    assert len(polls) == known


def test_tasks_are_listed_filtered_and_opened(office: Office, picture: Callable[[Page, str], None]) -> None:
    office.add_leads(400)
    order = {"filter": {"all": True}, "changes": {"add_tags": ["spring"]}}
    changed = office.api.post("/api/leads/bulk-update", json=order).raise_for_status().json()
    office.api.post("/api/leads/bulk-delete", json={"filter": {"tags": ["nobody"]}}).raise_for_status()
    office.sign_in()
    page = office.page
    page.get_by_role("link", name="Tasks", exact=True).click()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("row").get_by_text("Completed", exact=True)).to_have_count(2)
    picture(page, "tasks")
    page.get_by_label("Type").select_option("Change leads")
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_label("State").select_option("Failed")
    expect(page.get_by_text("No task is like that.")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name=f"Task {changed['id']}").click()
    expect(page.locator(".counts")).to_have_text("400 of 400 done")
    office.assert_shows_task(changed["id"])
    picture(page, "task")
    office.journal.assert_quiet()


def test_a_task_is_cancelled_from_its_page(office: Office) -> None:
    office.add_leads(60)
    office.sign_in()
    run_id = office.start_campaign()
    job_id = office.run(run_id)["job_id"]
    office.page.goto(f"/tasks/{job_id}")
    office.page.get_by_role("button", name="Cancel task").click()
    expect(office.state("Cancelled", of=".task-progress")).to_be_visible()
    office.assert_shows_task(job_id)
    assert office.run(run_id)["counts"]["active"] == 0
    office.journal.assert_quiet()
